/** A chart as a figure for a paper or a talk: its title, the names of its axes, and what its lines or colours are. */

import { EDGE, token } from "./axes";
import { type ColourKey, keyTicks } from "./colouring";
import { css, type Rgb } from "./colours";
import { type Pen, SvgPen } from "./svg";

export interface Figure {
  title: string;
  /** What the chart leaves out, or makes of its values. */
  note: string;
  yName: string;
  /** Of the chart alone, in CSS pixels. */
  width: number;
  height: number;
  /** What each line is, those first that matter; more than fit are counted. */
  names: readonly [name: string, rgb: Rgb][];
  colourKey: ColourKey | null;
  /** Axes and lines, from the corner of the lines, in so many pixels a CSS pixel. */
  draw: (pen: Pen, ratio: number) => void;
}

const NAMED = 120;
const [HEAD, ROW, SIDE] = [26, 16, 18]; // room for the title, a name, and the name of y
const RAMP = 240;

/** The figure as SVG, its lines as paths. */
export function svgOf(figure: Figure): string {
  const pen = new SvgPen();
  const { width, height } = compose(pen, figure, 1);
  return pen.document(width, height, EDGE.left + SIDE, HEAD + EDGE.top, token("--surface"));
}

/** The figure as a picture, in so many pixels a CSS pixel. */
export function pngOf(figure: Figure, ratio = 3): Promise<Blob> {
  const { width, height } = compose(canvasOf(1, 1, 1)[1], figure, ratio, true);
  const [canvas, context] = canvasOf(width, height, ratio);
  context.translate((EDGE.left + SIDE) * ratio, (HEAD + EDGE.top) * ratio);
  compose(context, figure, ratio);
  return pictureOf(canvas);
}

/** What is drawn in CSS pixels and has its axes' names already, below its title. */
export function drawingOf(
  kind: "svg" | "png",
  title: string,
  width: number,
  height: number,
  draw: (pen: Pen) => void,
): string | Promise<Blob> {
  const all = (pen: Pen) => {
    draw(pen);
    pen.fillStyle = token("--ink");
    pen.fillText(title, 8, -8);
  };
  if (kind === "svg") {
    const pen = new SvgPen();
    all(pen);
    return pen.document(width, height + HEAD, 0, HEAD, token("--surface"));
  }
  const [canvas, context] = canvasOf(width, height + HEAD, 3);
  context.scale(3, 3);
  context.translate(0, HEAD);
  all(context);
  return pictureOf(canvas);
}

/** A canvas of so many CSS pixels, with the page's ground. */
function canvasOf(
  width: number,
  height: number,
  ratio: number,
): [HTMLCanvasElement, CanvasRenderingContext2D] {
  const canvas = document.createElement("canvas");
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const context = canvas.getContext("2d")!;
  context.fillStyle = token("--surface");
  context.fillRect(0, 0, canvas.width, canvas.height);
  return [canvas, context];
}

const pictureOf = (canvas: HTMLCanvasElement) =>
  new Promise<Blob>((done, failed) =>
    canvas.toBlob((blob) => (blob ? done(blob) : failed(new Error("no picture"))), "image/png"),
  );

/** Draw all of it, or only measure; return the size of the whole in CSS pixels. */
function compose(pen: Pen, figure: Figure, ratio: number, measureOnly = false) {
  const { colourKey, draw, note, title, yName } = figure;
  pen.font = `${11 * ratio}px ${getComputedStyle(document.body).fontFamily}`;
  const space = (text: string) => pen.measureText(text).width / ratio;
  const names = colourKey ? [] : figure.names.slice(0, NAMED);
  const more = colourKey ? 0 : figure.names.length - names.length;
  const column = 24 + Math.max(0, ...names.map(([name]) => space(name)));
  const head = EDGE.left + SIDE + space(title) + 20 + space(note);
  const width = Math.ceil(Math.max(figure.width + SIDE, EDGE.left + SIDE + column, head));
  const columns = names.length > 12 ? Math.max(1, Math.floor((width - EDGE.left - SIDE) / column)) : 1;
  const rows = Math.ceil(names.length / columns);
  const bottom = figure.height - EDGE.top + 10;
  const entries = colourKey ? (colourKey.ramp ? 2 : colourKey.entries.length + 1) : 0;
  const height = Math.ceil(HEAD + figure.height + 4 + ROW * (rows + Number(more > 0) + entries));
  if (measureOnly) return { width, height };
  const text = (words: string, x: number, y: number) => pen.fillText(words, x * ratio, y * ratio);
  const swatch = (rgb: Rgb, x: number, y: number, wide = 10) => {
    pen.fillStyle = css(rgb);
    pen.fillRect(x * ratio, (y - 5) * ratio, wide * ratio, 10 * ratio);
    pen.fillStyle = token("--ink");
  };
  draw(pen, ratio);
  pen.font = `${11 * ratio}px ${getComputedStyle(document.body).fontFamily}`;
  pen.textBaseline = "middle";
  pen.fillStyle = token("--quiet");
  pen.textAlign = "center";
  const middle = (figure.height - EDGE.top - EDGE.bottom) / 2;
  sideways(pen, yName, (-EDGE.left - SIDE / 2 + 2) * ratio, middle * ratio);
  pen.fillStyle = token("--ink");
  pen.textAlign = "left";
  text(title, 0, -12);
  if (note) text(note, space(title) + 20, -12);
  names.forEach(([name, rgb], i) => {
    const [x, y] = [Math.floor(i / rows) * column, bottom + ROW * (i % rows)];
    swatch(rgb, x, y);
    text(name, x + 16, y);
  });
  if (more) text(`and ${more.toLocaleString("en")} more`, 16, bottom + ROW * rows);
  if (!colourKey) return { width, height };
  text(colourKey.title, 0, bottom);
  const start = space(colourKey.title) + 12;
  const { ramp } = colourKey;
  if (ramp) {
    const [steps, size] = [60, RAMP / 60];
    for (let i = 0; i < steps; i++) swatch(ramp(i / (steps - 1)), start + i * size, bottom, size + 0.3);
    for (const [share, words] of keyTicks(colourKey, RAMP))
      text(words, start + share * (RAMP - space(words)), bottom + ROW); // as on the page: within the ramp
  }
  colourKey.entries.forEach(([words, rgb], i) => {
    swatch(rgb, 0, bottom + ROW * (i + 1));
    text(words, 16, bottom + ROW * (i + 1));
  });
  return { width, height };
}

/** A text from below to above, around a place. */
function sideways(pen: Pen, words: string, x: number, y: number): void {
  if (pen instanceof SvgPen) pen.sidewaysText(words, x, y);
  else if (pen instanceof CanvasRenderingContext2D) {
    pen.save();
    pen.translate(x, y);
    pen.rotate(-Math.PI / 2);
    pen.fillText(words, 0, 0);
    pen.restore();
  }
}
