/** What metrics recorded of an experiment besides scores, epoch by epoch: curves, matrices, histograms, images, tables, texts. */

import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { dark } from "./app";
import { css, inkOn, sequentialColour } from "./colours";
import { formatNumber, formatTick, formatValue } from "./format";
import type { Json } from "./json";
import { toPixel } from "./raster";
import { RecordedCurves } from "./recorded_curves";
import { type Shown, shares, shownOf } from "./records";
import { encode, getJson, type LogEvent } from "./wire";

interface Answer {
  epochs: number[];
  epoch: number | null;
  events: LogEvent[];
}

const WRITTEN = 20; // classes whose numbers are written
const ROWS = 200;
const [WIDTH, HEIGHT, LEFT, BOTTOM] = [300, 220, 40, 34];

interface RecordedProps {
  run: string;
  id: number;
  /** It is asked for anew when this changes. */
  moment: string;
}

export function Recorded({ run, id, moment }: RecordedProps) {
  const [epoch, setEpoch] = useState<number | null>(null);
  const [found, setFound] = useState<Answer | null>(null);
  useEffect(() => {
    const stop = new AbortController();
    const which = epoch === null ? "" : `&epoch=${epoch}`;
    getJson<Answer>(`grid_searches/${encode(run)}/recorded?experiment=${id}${which}`, {
      signal: stop.signal,
    }).then(setFound, () => {}); // an older board, or none: what was there stays
    return () => stop.abort();
  }, [run, id, epoch, moment]);
  if (!found?.epochs.length) return null;
  const at = found.epochs.indexOf(epoch ?? found.epochs.at(-1)!);
  return (
    <section>
      <h2>Recorded</h2>
      <div class="bartop controls">
        <div class="field slider">
          <label for="recorded-epoch">
            Epoch <output>{found.epochs[at]}</output>
          </label>
          <input
            id="recorded-epoch"
            type="range"
            min={0}
            max={found.epochs.length - 1}
            step={1}
            value={at}
            disabled={found.epochs.length < 2}
            aria-valuetext={`epoch ${found.epochs[at]}`}
            onInput={(event) => setEpoch(found.epochs[Number(event.currentTarget.value)]!)}
          />
        </div>
        <small>
          {found.epochs.length === 1
            ? "recorded once"
            : `${found.epochs.length.toLocaleString("en")} epochs were recorded`}
        </small>
      </div>
      <div class="charts recorded">
        {shownOf(found.events).map((one) =>
          one.kind === "curve" ? (
            <RecordedCurves key={one.title} {...one} />
          ) : (
            <figure class="chart" key={one.title}>
              <figcaption>
                <h2>{one.title}</h2>
              </figcaption>
              <One of={one} files={`grid_searches/${encode(run)}/${id}`} />
            </figure>
          ),
        )}
      </div>
    </section>
  );
}

function One({ of, files }: { of: Exclude<Shown, { kind: "curve" }>; files: string }) {
  if (of.kind === "matrix") return of.values.length <= WRITTEN ? <Matrix {...of} /> : <Pixels {...of} />;
  if (of.kind === "histogram") return <Histogram {...of} />;
  if (of.kind === "table") return <Columns columns={of.columns} title={of.title} />;
  if (of.kind === "text") return <pre tabIndex={0}>{of.text}</pre>;
  return <Picture of={of} files={files} />;
}

function Picture({ of, files }: { of: Shown & { kind: "image" }; files: string }) {
  const [isMissing, setMissing] = useState(false);
  useEffect(() => setMissing(false), [of.file]);
  // A log may say anything; a file is one of the experiment's own images, or none.
  const isOwn = /^media\/[0-9a-f]{64}\.png$/.test(of.file);
  if (isMissing || !isOwn) return <p class="none">This image is not on this board.</p>;
  return (
    <img
      src={`${files}/${of.file}`}
      alt={`${of.title}, ${of.width} × ${of.height} pixels`}
      loading="lazy"
      style={{ width: `${Math.max(of.width, Math.min(224, of.width * 8))}px` }}
      class={of.width < 112 ? "pixels" : ""}
      onError={() => setMissing(true)}
    />
  );
}

/** Ends of numbers, apart from each other. */
function extent(values: readonly number[]): [number, number] {
  const finite = values.filter(Number.isFinite);
  const [low, high] = [Math.min(...finite), Math.max(...finite)];
  if (!finite.length) return [0, 1];
  return low < high ? [low, high] : [low - 0.5, high + 0.5];
}

function Frame({ x, y, xName, yName, label, children }: FrameProps) {
  const ends = { "text-anchor": "end" } as const;
  return (
    <svg class="drawn" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={label}>
      <rect x={LEFT} y={6} width={WIDTH - LEFT - 8} height={HEIGHT - BOTTOM - 6} />
      {children}
      <text x={LEFT - 4} y={14} {...ends}>
        {formatTick(y[1], 3)}
      </text>
      <text x={LEFT - 4} y={HEIGHT - BOTTOM} {...ends}>
        {formatTick(y[0], 3)}
      </text>
      <text x={LEFT} y={HEIGHT - BOTTOM + 13}>
        {formatTick(x[0], 3)}
      </text>
      <text x={WIDTH - 8} y={HEIGHT - BOTTOM + 13} {...ends}>
        {formatTick(x[1], 3)}
      </text>
      <text x={(LEFT + WIDTH) / 2} y={HEIGHT - 6} text-anchor="middle">
        {xName}
      </text>
      <text transform={`translate(12 ${(HEIGHT - BOTTOM) / 2}) rotate(-90)`} text-anchor="middle">
        {yName}
      </text>
    </svg>
  );
}

interface FrameProps {
  x: readonly [number, number];
  y: readonly [number, number];
  xName: string;
  yName: string;
  label: string;
  children: ComponentChildren;
}

const placeX = (value: number, [min, max]: readonly [number, number]) =>
  LEFT + toPixel({ log: false, min, max, size: WIDTH - LEFT - 8 }, value);
const placeY = (value: number, [min, max]: readonly [number, number]) =>
  HEIGHT - BOTTOM - toPixel({ log: false, min, max, size: HEIGHT - BOTTOM - 6 }, value);

function Histogram({ counts, edges, title }: Shown & { kind: "histogram" }) {
  const x = extent(edges);
  const y = [0, Math.max(1, ...counts.filter(Number.isFinite))] as const;
  const total = counts.reduce((sum, one) => sum + one, 0);
  return (
    <Frame
      x={x}
      y={y}
      xName="value"
      yName="count"
      label={`${title}: ${formatNumber(total)} values in ${counts.length} bins`}
    >
      {counts.map((count, i) => {
        const [from, to] = [placeX(edges[i]!, x), placeX(edges[i + 1]!, x)];
        const top = placeY(count, y);
        if (![from, to, top].every(Number.isFinite)) return null;
        return (
          <rect
            key={String(i)}
            class="bin"
            x={from}
            y={top}
            width={Math.max(0.5, to - from - 0.5)}
            height={HEIGHT - BOTTOM - top}
          >
            <title>{`${formatValue(edges[i])} to ${formatValue(edges[i + 1])}: ${formatNumber(count)}`}</title>
          </rect>
        );
      })}
    </Frame>
  );
}

function Matrix({ values, classes, xName, yName, title }: Shown & { kind: "matrix" }) {
  const names = classes ?? values.map((_, i) => String(i));
  return (
    <div class="scroll" tabIndex={0} role="group" aria-label={title}>
      <table class="heat">
        <caption>
          rows: {yName}, columns: {xName}; the colour is the share of the row
        </caption>
        <thead>
          <tr>
            <td />
            {(values[0] ?? []).map((_, i) => (
              <th key={String(i)} scope="col">
                {classes ? names[i] : i}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {values.map((row, i) => {
            const parts = shares(row);
            return (
              <tr key={String(i)}>
                <th scope="row">{names[i]}</th>
                {row.map((value, k) => {
                  const rgb = sequentialColour(parts[k]!, dark.value);
                  const style = parts[k] ? { background: css(rgb), color: inkOn(rgb) } : {};
                  return (
                    <td key={String(k)} style={style} title={`${names[i]} → ${names[k] ?? k}: ${value}`}>
                      {formatNumber(value, 3)}
                    </td>
                  );
                })}
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

/** A matrix of many rows: a pixel each. */
function Pixels({ values, xName, yName, title }: Shown & { kind: "matrix" }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const width = Math.max(1, ...values.map(({ length }) => length));
  useLayoutEffect(() => {
    const image = new ImageData(width, values.length);
    values.forEach((row, i) => {
      shares(row).forEach((share, k) => {
        image.data.set(
          share ? [...sequentialColour(share, dark.value), 255] : [0, 0, 0, 0],
          4 * (i * width + k),
        );
      });
    });
    canvas.current!.getContext("2d")!.putImageData(image, 0, 0);
  }, [values, dark.value]);
  return (
    <>
      <canvas
        class="pixels"
        ref={canvas}
        width={width}
        height={values.length}
        role="img"
        aria-label={`${title}: ${values.length} rows (${yName}), ${width} columns (${xName})`}
      />
      <small>
        rows: {yName}, columns: {xName}; the colour is the share of the row
      </small>
    </>
  );
}

function Columns({ columns, title }: { columns: [string, Json[]][]; title: string }) {
  const rows = Math.max(0, ...columns.map(([, values]) => values.length));
  return (
    <div class="scroll" tabIndex={0} role="group" aria-label={title}>
      <table class="plain">
        <thead>
          <tr>
            {columns.map(([name]) => (
              <th key={name}>{name}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {Array.from({ length: Math.min(rows, ROWS) }, (_, i) => (
            <tr key={String(i)}>
              {columns.map(([name, values]) => (
                <td key={name}>{formatValue(values[i])}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {rows > ROWS && (
        <small>
          The first {ROWS} of {rows.toLocaleString("en")} rows.
        </small>
      )}
    </div>
  );
}
