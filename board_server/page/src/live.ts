/** A WebSocket that comes back: exponential backoff with jitter, from where it left off, and a state to show. */

import { socketAddress } from "./wire";

export type Connection = "connecting" | "live" | "offline" | "denied" | "gone";

export interface LiveOptions {
  /** The address, asked anew for each attempt: it holds the cursor. */
  path: () => string;
  onFrame: (frame: unknown, bytes: number) => void;
  onState: (state: Connection, retryMs: number | null) => void;
  /** What was subscribed to is no longer the same. */
  onReplaced?: () => void;
  /** Asked when an attempt failed: may it go on? A refusal by the server cannot be seen on a WebSocket. */
  diagnose: () => Promise<Verdict>;
}

type Verdict = "retry" | "denied" | "gone";
const REPLACED = 4000; // the code by which a board ends a subscription to a log that it has no more
const REFUSED_MS = 10_000;

export function backoffMs(attempt: number, random = Math.random()): number {
  return Math.min(10_000, 400 * 2 ** attempt) * (0.75 + random / 2);
}

export class LiveSocket {
  private socket: WebSocket | null = null;
  private timer = 0;
  private attempt = 0;
  private closed = false;
  private readonly options: LiveOptions;

  constructor(options: LiveOptions) {
    this.options = options;
    addEventListener("online", this.retryNow);
    addEventListener("offline", this.drop);
    this.open();
  }

  close(): void {
    this.closed = true;
    removeEventListener("online", this.retryNow);
    removeEventListener("offline", this.drop);
    clearTimeout(this.timer);
    this.socket?.close();
  }

  /** Try at once instead of when the backoff ends. */
  readonly retryNow = (): void => {
    if (this.closed || this.socket) return;
    clearTimeout(this.timer);
    this.attempt = 0;
    this.open();
  };

  // A browser that goes offline may keep its sockets open for minutes without saying so.
  private readonly drop = (): void => this.ended(this.socket, true);

  private open(): void {
    this.options.onState("connecting", null);
    const socket = new WebSocket(socketAddress(this.options.path()));
    this.socket = socket;
    let lived = false;
    socket.onmessage = (message) => {
      if (socket !== this.socket || typeof message.data !== "string") return;
      if (!lived) {
        lived = true;
        this.attempt = 0;
        this.options.onState("live", null);
      }
      try {
        this.options.onFrame(JSON.parse(message.data), message.data.length);
      } catch (error) {
        console.warn("a frame could not be read", error);
      }
    };
    socket.onclose = ({ code }) =>
      code === REPLACED ? this.options.onReplaced?.() : this.ended(socket, lived);
  }

  private ended(socket: WebSocket | null, lived: boolean): void {
    if (this.closed || !socket || socket !== this.socket) return;
    this.socket = null;
    socket.close();
    const wait = backoffMs(this.attempt++);
    this.options.onState("offline", wait);
    this.later(wait, lived ? "retry" : null);
  }

  private later(wait: number, known: Verdict | null): void {
    this.timer = window.setTimeout(async () => {
      const verdict = known === "retry" ? known : await this.options.diagnose();
      if (this.closed || this.socket) return;
      if (verdict !== "retry") {
        this.options.onState(verdict, null);
        this.later(REFUSED_MS, verdict);
      } else if (known === "gone")
        this.options.onReplaced?.(); // it is there again, made anew
      else this.open();
    }, wait);
  }
}
