import { expect, test, vi } from "vitest";

vi.mock("../src/app", async () => ({ store: (await import("@preact/signals")).signal(null) }));
const { linesOf, newsOf } = await import("../src/notify");
const { newExperiment } = await import("../src/run_state");

const failed = (id: number, error: string | null) => ({ ...newExperiment(id), status: "FAILED", error });
const run = (status: string, experiments: object[]) =>
  ({ status, experiments: new Map(experiments.map((one, i) => [i, one])) }) as never;

test("failures are counted by kind, then the end", () => {
  const news = newsOf(
    run("FAILED", [failed(3, "ValueError"), newExperiment(0), failed(7, null), failed(5, "diverged: NaN")]),
  );
  expect([...news.keys()]).toEqual(["failed 3", "failed 7", "failed 5", "FAILED"]);
  expect(linesOf(news)).toEqual(["2 experiments failed: 3, 7", "experiment 5 diverged", "finished: FAILED"]);
});

test("a run that goes on tells nothing, one that is lost does", () => {
  expect(newsOf(run("RUNNING", [newExperiment(0)])).size).toBe(0);
  expect(linesOf(newsOf(run("LOST", [])))).toEqual(["lost: nothing writes it any more"]);
  expect(
    linesOf(
      newsOf(
        run(
          "RUNNING",
          Array.from({ length: 12 }, (_, i) => failed(i, "x")),
        ),
      ),
    ),
  ).toEqual(["12 experiments failed: 0, 1, 2, 3, 4, 5, 6, 7, …"]);
});
