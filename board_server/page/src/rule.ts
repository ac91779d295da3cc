/**
 * The language of selections, small enough to say in one line:
 *
 *   top 5 by val/accuracy max at best mean over fold, seed where optimizer.learning_rate < 0.01 per model.width
 *
 * `parseRule` says where a text cannot be read; `choose.ts` chooses by a rule.
 */

import { type Checked, parseRegex } from "./filter";

export type Condition =
  | { kind: "and"; parts: Condition[] }
  | { kind: "or"; parts: Condition[] }
  | { kind: "not"; part: Condition }
  | { kind: "compare"; name: string; op: string; value: string }
  | { kind: "in"; name: string; values: string[] };

export interface Rule {
  top: number | null; // null: all
  by: string;
  mode: "max" | "min" | null; // null: as the score's name says
  at: "best" | "last";
  over: string[]; // what experiments may differ in that are averaged
  where: Condition | null;
  per: string | null;
}

interface Token {
  text: string;
  at: number;
  quoted: boolean;
}

class RuleError extends Error {
  readonly at: number;
  readonly length: number;
  constructor(message: string, at: number, length: number) {
    super(message);
    this.at = at;
    this.length = Math.max(1, length);
  }
}

// A list is one value, as it is shown: [64,32].
const TOKEN = /\s*(?:"((?:[^"\\]|\\.)*)"|(<=|>=|!=|[<>=~(),])|(\[[^\]"]*\](?=[\s,)]|$)|[^\s<>=~!(),"]+))/y;

function tokens(text: string): Token[] {
  const found: Token[] = [];
  let at = 0;
  while (text.slice(at).trim()) {
    TOKEN.lastIndex = at;
    const match = TOKEN.exec(text);
    const start = at + (/^\s*/.exec(text.slice(at))![0].length ?? 0);
    if (!match)
      throw new RuleError(
        text[start] === '"' ? "this quotation mark is not closed" : "unexpected sign",
        start,
        1,
      );
    const quoted = match[1] !== undefined;
    found.push({
      text: quoted ? match[1]!.replace(/\\(.)/g, "$1") : (match[2] ?? match[3]!),
      at: start,
      quoted,
    });
    at = TOKEN.lastIndex;
  }
  return found;
}

const OPERATORS = ["<", "<=", ">", ">=", "=", "!=", "~"];

class Parser {
  private position = 0;
  private readonly list: Token[];
  private readonly end: number;
  private readonly known: ((name: string) => string | null) | null;

  constructor(text: string, known: ((name: string) => string | null) | null) {
    this.list = tokens(text);
    this.end = text.length;
    this.known = known;
  }

  rule(): Rule {
    const rule: Rule = { top: null, by: "", mode: null, at: "best", over: [], where: null, per: null };
    if (this.word("top")) {
      const count = this.next("a whole number after “top”");
      if (!/^[1-9]\d*$/.test(count.text))
        this.fail(`after “top” a whole number from 1 on is needed, not “${count.text}”`, count);
      rule.top = Number(count.text);
    } else if (!this.word("all"))
      this.fail("a rule begins with “top <number> by <score>” or “all by <score>”", this.peek());
    if (!this.word("by")) this.fail("“by <score>” must follow", this.peek());
    rule.by = this.name("a score's name after “by”");
    if (this.word("max")) rule.mode = "max";
    else if (this.word("min")) rule.mode = "min";
    if (this.word("at")) {
      const at = this.next("“best” or “last” after “at”");
      if (at.text !== "best" && at.text !== "last")
        this.fail(`“at ${at.text}”: write “at best” or “at last”`, at);
      rule.at = at.text as "best" | "last";
    }
    if (this.word("mean")) {
      if (!this.word("over")) this.fail("“over <name>” must follow “mean”", this.peek());
      do rule.over.push(this.name("a name after “mean over”"));
      while (this.word(","));
    }
    if (this.word("where")) rule.where = this.or();
    if (this.word("per")) rule.per = this.name("a name after “per”");
    const rest = this.peek();
    if (rest)
      this.fail(
        `“${rest.text}” is not expected here; the parts are: top … by … max|min at … mean over … where … per …`,
        rest,
      );
    return rule;
  }

  private or(): Condition {
    const parts = [this.and()];
    while (this.word("or")) parts.push(this.and());
    return parts.length > 1 ? { kind: "or", parts } : parts[0]!;
  }

  private and(): Condition {
    const parts = [this.not()];
    while (this.word("and")) parts.push(this.not());
    return parts.length > 1 ? { kind: "and", parts } : parts[0]!;
  }

  private not(): Condition {
    if (this.word("not")) return { kind: "not", part: this.not() };
    if (this.word("(")) {
      const inner = this.or();
      if (!this.word(")")) this.fail("“)” is missing", this.peek());
      return inner;
    }
    const name = this.name("a condition");
    if (this.word("in")) return { kind: "in", name, values: this.values() };
    const op = this.next(`one of ${OPERATORS.join(" ")} or “in” after “${name}”`);
    if (op.quoted || !OPERATORS.includes(op.text))
      this.fail(`“${op.text}”: write one of ${OPERATORS.join(" ")} or “in”`, op);
    const value = this.next(`a value after “${op.text}”`);
    if (["<", "<=", ">", ">="].includes(op.text) && (value.text === "" || Number.isNaN(Number(value.text))))
      this.fail(`after ${op.text} a number is needed, not “${value.text}”`, value);
    if (op.text === "~") {
      const regex = parseRegex(value.text);
      if (!regex.ok) this.fail(regex.error, value);
    }
    return { kind: "compare", name, op: op.text, value: value.text };
  }

  private values(): string[] {
    if (!this.word("(")) this.fail("“in” needs a list in brackets: in (1, 3)", this.peek());
    const values = [this.next("a value").text];
    while (this.word(",")) values.push(this.next("a value").text);
    if (!this.word(")")) this.fail("“)” is missing", this.peek());
    return values;
  }

  private name(what: string): string {
    const token = this.next(what);
    if (!token.quoted && (/^[<>=~(),!]/.test(token.text) || KEYWORDS.has(token.text)))
      this.fail(`${what} is needed here, not “${token.text}”`, token);
    const problem = this.known?.(token.text);
    if (problem) this.fail(problem, token);
    return token.text;
  }

  private peek(): Token | undefined {
    return this.list[this.position];
  }

  private word(text: string): boolean {
    const token = this.peek();
    if (!token || token.quoted || token.text !== text) return false;
    this.position++;
    return true;
  }

  private next(what: string): Token {
    const token = this.peek();
    if (!token) return this.fail(`${what} is missing`, undefined);
    this.position++;
    return token;
  }

  private fail(message: string, token: Token | undefined): never {
    const length = token ? token.text.length + (token.quoted ? 2 : 0) : 1;
    throw new RuleError(message, token ? token.at : this.end, length);
  }
}

const KEYWORDS = new Set("top all by max min at mean over where per and or not in".split(" "));

/** A name as it stands in a rule. */
export function quoted(name: string): string {
  return /^[^\s<>=~!(),"]+$/.test(name) && !KEYWORDS.has(name) ? name : `"${name.replace(/["\\]/g, "\\$&")}"`;
}

/** All names that a rule uses. */
export function namesIn(rule: Rule): string[] {
  const inside = (condition: Condition): string[] =>
    "parts" in condition
      ? condition.parts.flatMap(inside)
      : "part" in condition
        ? inside(condition.part)
        : [condition.name];
  return [rule.by, ...rule.over, ...(rule.where ? inside(rule.where) : []), ...(rule.per ? [rule.per] : [])];
}

/** Read a rule; `known` may object to a name with a sentence. */
export function parseRule(
  text: string,
  known: ((name: string) => string | null) | null = null,
): Checked<Rule> {
  try {
    return { ok: true, value: new Parser(text, known).rule() };
  } catch (error) {
    if (!(error instanceof RuleError)) throw error;
    return { ok: false, error: error.message, at: error.at, length: error.length };
  }
}
