/** Charts are drawn one a task and after the frame that answers a key or click, so that none of many keeps the page waiting. */

const waiting = new Map<object, () => void>();
let scheduled = false;
const DRAWN = "charts drawn"; // for whoever measures

export function drawSoon(chart: object, draw: () => void): void {
  waiting.set(chart, draw);
  schedule();
}

function schedule(): void {
  if (scheduled || !waiting.size) return;
  scheduled = true;
  requestAnimationFrame(() => setTimeout(drawOne));
}

function drawOne(): void {
  const [first] = waiting;
  if (first) {
    waiting.delete(first[0]);
    try {
      first[1]();
    } catch (error) {
      console.error(error); // one chart that cannot be drawn must not stop the others
    }
  }
  if (waiting.size) {
    setTimeout(drawOne);
    return;
  }
  scheduled = false;
  performance.clearMarks(DRAWN);
  performance.mark(DRAWN);
}
