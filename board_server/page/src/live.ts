/** A WebSocket that comes back: exponential backoff with jitter, from where it left off, and a state to show. */

import { parseJson } from "./json";
import { isSaved } from "./saved";
import { socketAddress } from "./wire";

/** `barred`: the server answers requests, but no WebSocket comes through to it; `saved`: there is none, and no news. */
export type Connection = "connecting" | "saved" | "live" | "offline" | "barred" | "denied" | "gone";

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

/** `answers`: it does, so that an attempt which failed may go on; `retry`: nothing is known. */
export type Verdict = "answers" | "retry" | "denied" | "gone";

/** What a request says that failed. */
export function verdictOf({ status }: { status?: number }): Exclude<Verdict, "answers"> {
  return status === 401 || status === 403 ? "denied" : status === 404 ? "gone" : "retry";
}

const REPLACED = 4000; // the code by which a board ends a subscription to a log that it has no more
const REFUSED_MS = 10_000;
const SILENT_MS = 60_000; // a board speaks at least every 25 s, so a connection that is silent for so long is dead
const OPENING_MS = 15_000;
const ANSWER_MS = 10_000;
const BARRED = 2; // attempts that failed though the server answered: one may have met a restart

export function backoffMs(attempt: number, random = Math.random()): number {
  return Math.min(10_000, 400 * 2 ** attempt) * (0.75 + random / 2);
}

/** By two clocks: one may be put back, the other may rest while the machine sleeps. */
const now = () => [Date.now(), performance.now()];

export class LiveSocket {
  private socket: WebSocket | null = null;
  private timer = 0;
  private attempt = 0;
  private closed = false;
  private state: Connection = "connecting";
  private heard = now(); // when the newest frame came, or the attempt began
  private lived = false; // whether a frame came
  private failed = 0;
  private readonly watch = setInterval(() => this.check(), 5000);
  private readonly options: LiveOptions;

  constructor(options: LiveOptions) {
    this.options = options;
    if (isSaved) {
      this.close();
      this.say("saved", null);
      void options.diagnose(); // which asks for what a first frame would bring
      return;
    }
    addEventListener("online", this.retryNow);
    addEventListener("offline", this.drop);
    document.addEventListener("visibilitychange", this.seen);
    this.open();
  }

  close(): void {
    this.closed = true;
    removeEventListener("online", this.retryNow);
    removeEventListener("offline", this.drop);
    document.removeEventListener("visibilitychange", this.seen);
    clearTimeout(this.timer);
    clearInterval(this.watch);
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

  // What a relay between stopped to forward is never closed, and a sleeping machine's timers rest.
  private check(): void {
    const limit = this.socket?.readyState === WebSocket.CONNECTING ? OPENING_MS : SILENT_MS;
    const silent = Math.max(...now().map((ms, i) => ms - this.heard[i]!));
    if (silent > limit) this.ended(this.socket, this.lived);
  }

  private readonly seen = (): void => {
    if (document.hidden) return;
    this.check();
    if (this.state === "offline") this.retryNow();
  };

  private say(state: Connection, retryMs: number | null): void {
    this.state = state;
    this.options.onState(state, retryMs);
  }

  private open(): void {
    if (this.failed < BARRED) this.say("connecting", null);
    this.heard = now();
    const socket = new WebSocket(socketAddress(this.options.path()));
    this.socket = socket;
    this.lived = false;
    socket.onmessage = (message) => {
      if (socket !== this.socket || typeof message.data !== "string") return;
      this.heard = now();
      if (!this.lived) {
        this.lived = true;
        this.attempt = this.failed = 0;
        this.say("live", null);
      }
      try {
        this.options.onFrame(parseJson(message.data), message.data.length);
      } catch (error) {
        console.warn("a frame could not be read", error);
      }
    };
    socket.onclose = ({ code }) =>
      code === REPLACED ? this.options.onReplaced?.() : this.ended(socket, this.lived);
  }

  private ended(socket: WebSocket | null, lived: boolean): void {
    if (this.closed || !socket || socket !== this.socket) return;
    this.socket = null;
    socket.close();
    const wait = backoffMs(this.attempt++);
    this.say(this.failed < BARRED ? "offline" : "barred", wait);
    this.later(wait, lived ? "retry" : null);
  }

  private ask(): Promise<Verdict> {
    const late = new Promise<Verdict>((done) => setTimeout(done, ANSWER_MS, "retry"));
    return Promise.race([this.options.diagnose(), late]);
  }

  private later(wait: number, known: Verdict | null): void {
    this.timer = window.setTimeout(async () => {
      const verdict = known === "retry" ? known : await this.ask();
      if (this.closed || this.socket) return;
      if (verdict === "answers") this.failed++;
      else if (verdict === "retry" && known !== "retry") this.failed = 0;
      if (verdict === "denied" || verdict === "gone") {
        this.say(verdict, null);
        this.later(REFUSED_MS, verdict);
      } else if (known === "gone")
        this.options.onReplaced?.(); // it is there again, made anew
      else this.open();
    }, wait);
  }
}
