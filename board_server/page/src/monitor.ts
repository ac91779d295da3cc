/** By which score a run is ranked where nobody says, as the engine and the server choose it: mlgym_jax/events/ranking.py. */

import { type Json, member } from "./json";

const SECTIONS = ["refit", "validation", "checkpointing", "early_stopping", "search"];
const LOWER_IS_BETTER = /loss|error|perplexity|brier|calibration|mse|mae|nll/i;

const metricOf = (name: string): string => name.slice(name.indexOf("/") + 1) || name;

/** What the config says where it monitors this score; else `min` for a loss or an error, by its name or component. */
export function defaultMode(config: Json, name: string): "max" | "min" {
  for (const section of SECTIONS.map((one) => member(config, one))) {
    const [monitor, mode] = [member(section, "monitor"), member(section, "mode")];
    const isIt = typeof monitor === "string" && metricOf(monitor) === metricOf(name);
    if (isIt && (mode === "min" || mode === "max")) return mode;
  }
  const metric = member(member(config, "metrics"), name.split("/")[1] ?? "");
  const component = member(metric, "component");
  return LOWER_IS_BETTER.test(`${name} ${typeof component === "string" ? component : ""}`) ? "min" : "max";
}

/** The score to rank by, of those that there are, and which of its values are better. */
export function defaultMonitor(scores: readonly string[], config: Json): [string | null, "max" | "min"] {
  for (const name of SECTIONS) {
    const section = member(config, name);
    const [monitor, mode] = [member(section, "monitor"), member(section, "mode")];
    if (typeof monitor !== "string" || !scores.includes(monitor)) continue;
    return [monitor, mode === "min" || mode === "max" ? mode : defaultMode(config, monitor)];
  }
  const [val, train] = ["val/", "train/"].map((split) => scores.filter((name) => name.startsWith(split)));
  const metrics = val!.filter((name) => name.split("/")[1] !== "loss");
  const single = metrics.filter((name) => name.split("/").length === 2);
  const ranking = [...single, ...metrics, "val/loss", ...val!, "train/loss", ...train!, ...scores];
  const monitor = ranking.find((name) => scores.includes(name)) ?? null;
  return [monitor, monitor === null ? "max" : defaultMode(config, monitor)];
}
