/** A canvas context that writes SVG, as far as charts need one: what is drawn on the screen becomes a figure of a paper. */

/** What the charts draw with, on a canvas or as SVG. */
export type Pen = Pick<
  CanvasRenderingContext2D,
  | "beginPath"
  | "moveTo"
  | "lineTo"
  | "arc"
  | "rect"
  | "clip"
  | "stroke"
  | "fill"
  | "fillRect"
  | "fillText"
  | "setLineDash"
  | "save"
  | "restore"
  | "globalAlpha"
  | "strokeStyle"
  | "fillStyle"
  | "lineWidth"
  | "lineJoin"
  | "font"
  | "textAlign"
  | "textBaseline"
> & { measureText: (text: string) => { width: number } };

const escaped = (text: string) =>
  text.replace(/[&<>"]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[sign]!);
const short = (value: number) => String(Math.round(value * 100) / 100);

/** `rgb(1 2 3 / 0.5)`, which many readers of SVG do not know, as `rgb(1,2,3)` and an opacity. */
function paint(name: "fill" | "stroke", style: string): string {
  const [, r, g, b, alpha] = /^rgb\((\d+) (\d+) (\d+)(?: \/ ([\d.]+))?\)$/.exec(style) ?? [];
  if (r === undefined) return `${name}="${style}"`;
  return `${name}="rgb(${r},${g},${b})"${alpha ? ` ${name}-opacity="${alpha}"` : ""}`;
}

export class SvgPen implements Pen {
  readonly parts: string[] = [];
  globalAlpha = 1;
  strokeStyle = "";
  fillStyle = "";
  lineWidth = 1;
  lineJoin: CanvasLineJoin = "miter";
  font = "";
  textAlign: CanvasTextAlign = "left";
  textBaseline: CanvasTextBaseline = "alphabetic";
  private path = "";
  private dash = "";

  beginPath(): void {
    this.path = "";
  }
  moveTo(x: number, y: number): void {
    this.path += `M${short(x)} ${short(y)}`;
  }
  lineTo(x: number, y: number): void {
    this.path += `${this.path ? "L" : "M"}${short(x)} ${short(y)}`;
  }
  rect(x: number, y: number, width: number, height: number): void {
    this.path += `M${short(x)} ${short(y)}h${short(width)}v${short(height)}h${short(-width)}z`;
  }
  /** A whole circle. */
  arc(x: number, y: number, radius: number): void {
    const half = `a${radius} ${radius} 0 0 0 `;
    this.path += `M${short(x - radius)} ${short(y)}${half}${2 * radius} 0${half}${-2 * radius} 0`;
  }
  /** Until `restore`; there is one clip in a drawing. */
  clip(): void {
    this.parts.push(`<clipPath id="lines"><path d="${this.path}"/></clipPath><g clip-path="url(#lines)">`);
  }
  save(): void {}
  restore(): void {
    this.parts.push("</g>");
  }
  stroke(): void {
    if (!this.path) return;
    const dash = this.dash && ` stroke-dasharray="${this.dash}"`;
    const look = `fill="none" ${paint("stroke", this.strokeStyle)} stroke-width="${short(this.lineWidth)}"`;
    this.parts.push(`<path d="${this.path}" ${look} stroke-linejoin="round"${dash}/>`);
  }
  fill(): void {
    if (!this.path) return;
    const alpha = this.globalAlpha < 1 ? ` opacity="${this.globalAlpha}"` : "";
    this.parts.push(`<path d="${this.path}z" ${paint("fill", this.fillStyle)}${alpha}/>`);
  }
  fillRect(x: number, y: number, width: number, height: number): void {
    const box = `x="${short(x)}" y="${short(y)}" width="${short(width)}" height="${short(height)}"`;
    this.parts.push(`<rect ${box} ${paint("fill", this.fillStyle)}/>`);
  }
  fillText(text: string, x: number, y: number): void {
    const anchor = { center: "middle", right: "end" }[this.textAlign as string] ?? "start";
    const baseline = { middle: "0.35em", top: "0.8em" }[this.textBaseline as string] ?? "0";
    const look = `text-anchor="${anchor}" dy="${baseline}" ${paint("fill", this.fillStyle)}`;
    this.parts.push(`<text x="${short(x)}" y="${short(y)}" ${look}>${escaped(text)}</text>`);
  }
  /** From below to above. */
  sidewaysText(text: string, x: number, y: number): void {
    this.fillText(text, x, y);
    const turned = `transform="rotate(-90 ${short(x)} ${short(y)})"`;
    this.parts.push(this.parts.pop()!.replace("<text ", `<text ${turned} `));
  }
  setLineDash(segments: number[]): void {
    this.dash = segments.map(short).join(" ");
  }
  measureText(text: string): { width: number } {
    return { width: text.length * 6.5 };
  }

  /** The whole drawing; its origin is moved by `left` and `top`. */
  document(width: number, height: number, left: number, top: number, ground: string): string {
    const size = `width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"`;
    return `<svg xmlns="http://www.w3.org/2000/svg" ${size} font-family="Helvetica, Arial, sans-serif" font-size="11">
<rect width="${width}" height="${height}" fill="${ground}"/>
<g transform="translate(${left} ${top})">
${this.parts.join("\n")}
</g>
</svg>
`;
  }
}
