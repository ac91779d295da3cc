import { expect, test, vi } from "vitest";

vi.mock("../src/app", () => ({ session: { value: null } }));

import { opposite, readTags, signedTags, tagChanges } from "../src/run_changes";

test("tags are apart by blanks or commas, each once", () => {
  expect(readTags(" a, b  a,,c ")).toEqual(["a", "b", "c"]);
});

test("signs add and take away, of what a run has", () => {
  const added = (tag: string) => ({ event_type: "tag_added", tag });
  const removed = (tag: string) => ({ event_type: "tag_removed", tag });
  expect(signedTags("+new plain -old -absent has +", ["old", "has"])).toEqual([
    added("new"),
    added("plain"),
    removed("old"),
  ]);
  expect(tagChanges(["a"], ["a"])).toEqual([]);
});

test("what is done is taken back in the opposite order, a note by what it was", () => {
  expect(
    opposite(
      [
        { event_type: "archived" },
        { event_type: "tag_added", tag: "x" },
        { event_type: "note_set", note: "new" },
      ],
      "old",
    ),
  ).toEqual([
    { event_type: "note_set", note: "old" },
    { event_type: "tag_removed", tag: "x" },
    { event_type: "unarchived" },
  ]);
});
