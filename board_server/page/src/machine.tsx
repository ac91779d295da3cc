/** What the machine did while the run trained, and what the run said in words. */

import { useEffect, useRef, useState } from "preact/hooks";
import { dark } from "./app";
import { Chart } from "./chart";
import { colourOf } from "./colours";
import { formatTime } from "./format";
import { member, textOrNull } from "./json";
import { machineOf, type Series } from "./records";
import { encode, getJson, type LogEvent } from "./wire";

interface Answer {
  num_samples: number;
  samples: LogEvent[];
  messages: LogEvent[];
}

const GIB = 2 ** 30;
const AGAIN_MS = 15_000; // as often as it is sampled

/** `eventId`: the run's newest; what comes of a new one is asked for then, and not while nothing comes. */
export function Machine({ run, eventId }: { run: string; eventId: number }) {
  const [found, setFound] = useState<Answer | null>(null);
  const asked = useRef({ run: "", at: 0 });
  useEffect(() => {
    const load = () => {
      asked.current = { run, at: Date.now() };
      getJson<Answer>(`grid_searches/${encode(run)}/machine`).then(setFound, () => {});
    };
    const wait = asked.current.run === run ? asked.current.at + AGAIN_MS - Date.now() : 0;
    const timer = setTimeout(load, Math.max(0, wait));
    return () => clearTimeout(timer);
  }, [run, eventId]);
  if (!found) return null;
  const { x, series } = machineOf(found.samples);
  return (
    <>
      {series.length > 0 && (
        <section>
          <h2>Machine</h2>
          <div class="charts">
            {series.map((one) => (
              <Chart
                key={one.title}
                title={one.unit === "bytes" ? `${one.title} (GiB)` : one.title}
                syncKey="machine"
                note={
                  found.num_samples > x.length
                    ? `${x.length} of ${found.num_samples.toLocaleString("en")} samples`
                    : null
                }
                apart
                build={() => modelOf(one, x)}
              />
            ))}
          </div>
        </section>
      )}
      {found.messages.length > 0 && (
        <section>
          <h2>Messages</h2>
          <div class="scroll" tabIndex={0} role="group" aria-label="Messages">
            <table class="plain">
              <tbody>
                {found.messages.map(({ creation_ts: now, payload }, i) => (
                  <tr key={String(i)}>
                    <th>{formatTime(now)}</th>
                    <td class={member(payload, "level") === "info" ? "" : "warn"}>
                      {textOrNull(member(payload, "level"))}
                    </td>
                    <td class="long">{textOrNull(member(payload, "text"))}</td>
                    <td>
                      <small>{textOrNull(member(payload, "source"))}</small>
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </section>
      )}
    </>
  );
}

function modelOf({ lines, unit }: Series, x: number[]) {
  return {
    lines: lines.map(({ y }, id) => ({
      id,
      x,
      kx: 1,
      ox: 0,
      y: unit === "bytes" ? y.map((value) => value / GIB) : y,
      n: x.length,
      rgb: colourOf(id, dark.value),
    })),
    bands: [],
    logx: false,
    logy: false,
    cut: false,
    fromZero: true,
    xKind: "time" as const,
    zoom: null,
    chosen: new Set<number>(),
    dark: dark.value,
    label: (id: number) => lines[id]?.label ?? "",
  };
}
