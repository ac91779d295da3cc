import { describe, expect, it } from "vitest";
import type { Json } from "../src/json";
import { labelsOf } from "../src/labels";

const labels = (values: Json[]) => values.map(labelsOf(values));
const adam = (learning_rate: number, b1 = 0.9) => ({ component: "adam", learning_rate, b1 });

describe("labels of values", () => {
  it("of components are their names, with what differs between those of one name", () => {
    expect(
      labels([
        { component: "adam", learning_rate: 0.1 },
        { component: "sgd", learning_rate: 0.1 },
      ]),
    ).toEqual(["adam", "sgd"]);
    expect(labels([adam(0.1), adam(0.01), { component: "sgd" }])).toEqual([
      "adam(learning_rate=0.1)",
      "adam(learning_rate=0.01)",
      "sgd",
    ]);
  });
  it("of long texts keep their ends, by which they differ", () => {
    const paths = ["/data/projects/images/first-part.npz", "/data/projects/images/second-part.npz"];
    const [one, other] = labels(paths);
    expect([one, other]).toEqual(["…first-part.npz", "…second-part.npz"]);
    const [long] = labels([`begin-${"x".repeat(90)}-end`]);
    expect(long).toMatch(/^begin-x+….*-end$/);
    expect(long!.length).toBeLessThan(30);
    expect(labels(["🎉".repeat(20), "a"])[0]).toBe(`${"🎉".repeat(5)}…${"🎉".repeat(5)}`);
  });
  it("are never the same for two values", () => {
    for (const values of [
      [0.12345671, 0.12345672],
      [20240131, 20240132],
      [`a${"x".repeat(60)}1${"y".repeat(60)}`, `a${"x".repeat(60)}2${"y".repeat(60)}`],
      [adam(0.1), adam(0.1 + 1e-9)],
      [null, "", [1], [1, 2]],
    ] as Json[][])
      expect(new Set(labels(values)).size).toBe(values.length);
  });
});
