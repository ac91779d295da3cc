/** How fast the run is, and how fast its events arrive here. */

import { useEffect } from "preact/hooks";
import { dark, view } from "../app";
import { Chart } from "../chart";
import { colourOf } from "../colours";
import { formatBytes, formatDuration, formatNumber } from "../format";
import { stepsAnEpoch } from "../lines";
import { Machine } from "../machine";
import type { PlotModel } from "../plot_model";
import { type Done, rates, worksOf } from "../rates";
import { experimentsOf } from "../run_state";
import { connection, type RunStore, TIMES } from "../run_store";
import type { Score } from "../wire";

function model(x: number[], y: number[], label: string): PlotModel {
  const line = { id: 0, x, kx: 1, ox: 0, y, n: x.length, rgb: colourOf(0, dark.value) };
  return {
    lines: [line],
    bands: [],
    logx: false,
    logy: false,
    cut: false,
    fromZero: true,
    xKind: "time",
    zoom: null,
    chosen: new Set(),
    dark: dark.value,
    label: () => label,
  };
}

const COLUMNS = [
  ...["Group", "Experiments", "Plan", "Compiled in", "Examples an epoch"],
  ...["Mesh", "Operations a step", "Memory a device", "Utilisation"],
];

const share = (part: Score | null | undefined) =>
  typeof part === "number" ? `${formatNumber(100 * part, 3)} %` : "–";

export function Throughput({ store }: { store: RunStore }) {
  void store.version.value;
  void view.value;
  const { run, pulses } = store;
  useEffect(() => store.need(TIMES), []);
  const numExamples = store.numExamples();
  const groupOf = new Map(run.groups.flatMap((group) => experimentsOf(group).map((id) => [id, group.group])));
  const groups = new Map<number | string, Done[]>();
  let [epochs, steps, total] = [0, 0, 0];
  for (const [id, times] of run.times ?? []) {
    const experiment = run.experiments.get(id);
    const amount = numExamples.get(id) || 0;
    epochs += times.n;
    total += amount * times.n;
    if (experiment) steps += stepsAnEpoch(experiment) * times.n;
    const group = groupOf.get(id) ?? `#${id}`;
    const done = { times, seconds: run.seconds?.get(id), amount: amount || 1 };
    const others = groups.get(group);
    if (others) others.push(done);
    else groups.set(group, [done]);
  }
  const known = total > 0;
  const started = run.startedMs ?? 0;
  const { x, y, seconds } = rates([...groups.values()].flatMap((group) => worksOf(group, started)));
  const now = Date.now() / 1000;
  const recent = pulses.filter(({ second }) => second > now - 11);
  const perSecond = (pick: (pulse: (typeof pulses)[number]) => number) =>
    recent.reduce((sum, pulse) => sum + pick(pulse), 0) / 10;
  const measured = recent.flatMap(({ examplesPerSecond }) => examplesPerSecond);
  // Of a run from elsewhere neither examples nor steps need be known.
  const rate = (amount: number, isKnown: boolean) =>
    isKnown && seconds > 0 ? `${formatNumber(Math.round(amount / seconds))} /s` : "–";
  const knowsSteps = [...run.experiments.values()].some(({ progress }) => progress);
  const isLive = run.status === "RUNNING" || pulses.length > 0; // else there is nothing to wait for
  const live: [string, string, string][] = [
    ["Connection", connection.value.state, "of this page with the board"],
    [
      "Events",
      `${formatNumber(
        perSecond((pulse) => pulse.events),
        3,
      )} /s`,
      `${formatBytes(Math.round(perSecond((pulse) => pulse.bytes)))}/s, last 10 s`,
    ],
    [
      "Delay",
      recent.length ? formatDuration(Math.max(...recent.map(({ delay }) => delay))) : "–",
      "from the event to this page, last 10 s",
    ],
    [
      "Examples now",
      measured.length
        ? `${formatNumber(Math.round(measured.reduce((a, b) => a + b, 0) / measured.length))} /s`
        : "–",
      "as the training measures, last 10 s",
    ],
  ];
  const tiles: [string, string, string][] = [
    ...(isLive ? live : []),
    [
      "Examples",
      rate(total, known),
      `${known ? `${formatNumber(total)} in ` : ""}${formatDuration(seconds * 1000)} of training`,
    ],
    ["Steps", rate(steps, knowsSteps), knowsSteps ? `${formatNumber(steps)} in all` : ""],
    [
      "Epochs",
      `${seconds > 0 ? formatNumber(epochs / seconds, 3) : "–"} /s`,
      `${formatNumber(epochs)} over all experiments`,
    ],
  ];
  return (
    <div class="page sheet">
      <div class="tiles">
        {tiles.map(([name, value, note]) => (
          <div class="card" key={name}>
            <small>{name}</small>
            <strong>{value}</strong>
            <small>{note}</small>
          </div>
        ))}
      </div>
      <div class="charts">
        <Chart
          title={known ? "training examples a second" : "epochs a second"}
          syncKey="run"
          note={epochs ? `while it trained: pauses and compiling are left out` : "no epoch yet"}
          apart
          build={() => {
            return model(x, y, known ? "examples a second, all experiments" : "epochs a second");
          }}
        />
        {isLive && (
          <Chart
            title="events a second"
            syncKey="live"
            note={`${pulses.length ? "received" : "none"} here since this page was opened`}
            apart
            build={() => {
              const begin = pulses[0]?.second ?? 0;
              const x: number[] = [];
              const y: number[] = [];
              for (const { second, events } of pulses) {
                while (x.length < second - begin) y.push(x.push(x.length) && 0); // seconds without an event
                x.push(second - begin);
                y.push(events);
              }
              return model(x, y, "events");
            }}
          />
        )}
      </div>
      {run.groups.length > 0 && (
        <section>
          <h2>Compiled programs</h2>
          <div class="scroll" tabIndex={0} role="group" aria-label="Compiled programs">
            <table class="plain">
              <thead>
                <tr>
                  {COLUMNS.map((title) => (
                    <th key={title}>{title}</th>
                  ))}
                  <th class="long">Why</th>
                </tr>
              </thead>
              <tbody>
                {run.groups.map((group, i) => (
                  <tr key={String(i)}>
                    <th>{group.group}</th>
                    <td>{group.experiments.length}</td>
                    <td>{group.plan}</td>
                    <td>{formatDuration(group.compile_seconds * 1000)}</td>
                    <td>{formatNumber(group.num_examples)}</td>
                    <td>{group.mesh ?? "–"}</td>
                    <td>{formatNumber(group.flops_per_step)}</td>
                    <td>{group.bytes_per_device ? formatBytes(group.bytes_per_device) : "–"}</td>
                    <td>{share(run.speeds.findLast((speed) => speed.group === group.group)?.utilisation)}</td>
                    <td class="long">{group.reason}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </section>
      )}
      <Machine run={run.id} eventId={run.eventId} />
    </div>
  );
}
