/**
 * An order book that is built from a topic's snapshots and updates, and verified at every message.
 *
 * A book is either usable - it equals what the broker held after its last message, proved by the checksum - or stale: nothing
 * came yet, or a message did not fit. A stale book shows no levels and becomes usable again with the next snapshot. Prices
 * and sizes are the broker's texts; nothing is rounded. Memory is bounded by 16,384 levels a side.
 */

import { next, type Seq } from "./seq.js";
import type { Position } from "./types.js";

/** Most levels of a side. */
const LEVELS_MAX = 16_384;
/** The levels of a side that the checksum covers. */
const CHECKSUM_LEVELS = 10;

/** A price and the size that is bid or asked for at it. */
export type Level = readonly [price: string, size: string];

/** Why a message does not fit a book, and the numbers that show it. */
export interface BookFault {
  fault: "malformed" | "bad_level" | "too_many_levels" | "no_snapshot" | "hole" | "wrong_checksum";
  seq: Seq;
  /** What is malformed. */
  what?: string;
  /** The number that was due. */
  expected?: Seq;
  /** A level that no book has. */
  price?: string;
  size?: string;
  /** How many levels a side has. */
  levels?: number;
  /** The checksum of the message, and that of the book. */
  announced?: unknown;
  computed?: number;
}

/** A price for ordering: prices whose doubles are equal are told apart by their digits. */
interface Entry {
  near: number;
  price: string;
  size: string;
  /** What the checksum covers of this level. */
  digits: string;
}

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  let crc = n;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc >>> 0;
});

/** CRC-32 (IEEE) of ASCII text. */
export function crc32(text: string): number {
  let crc = 0xffffffff;
  for (let i = 0; i < text.length; i += 1) {
    crc = (CRC[(crc ^ text.charCodeAt(i)) & 0xff] as number) ^ (crc >>> 8);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

const DECIMAL = /^(-?)0*(\d+)(?:\.(\d*?)0*)?$/;

/** The one text of a decimal number: no zeros at the ends. `undefined` if `text` is none. */
export function normalDecimal(text: unknown): string | undefined {
  if (typeof text !== "string" || text.length > 40 || text.endsWith(".")) return undefined;
  const parts = DECIMAL.exec(text);
  if (!parts) return undefined;
  const [, sign, whole, fraction] = parts as unknown as [string, string, string, string | undefined];
  if ((whole + (fraction ?? "")).replace(/^0+/, "").length > 28) return undefined;
  const number = fraction ? `${whole}.${fraction}` : whole;
  return number === "0" ? "0" : sign + number;
}

/** Compares two positive decimals of normal form by their digits. */
function compareDigits(a: string, b: string): number {
  const [wholeA = "", fractionA = ""] = a.split(".");
  const [wholeB = "", fractionB = ""] = b.split(".");
  if (wholeA.length !== wholeB.length) return wholeA.length - wholeB.length;
  if (wholeA !== wholeB) return wholeA < wholeB ? -1 : 1;
  return fractionA === fractionB ? 0 : fractionA < fractionB ? -1 : 1;
}

/** One side, best level first. */
class Side {
  levels: Entry[] = [];

  /** `sign` is 1 if the lowest price is the best. */
  constructor(private readonly sign: 1 | -1) {}

  set(price: string, size: string): void {
    const near = Number(price);
    let low = 0;
    let high = this.levels.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const at = this.levels[middle] as Entry;
      const order = this.sign * (at.near - near || compareDigits(at.price, price));
      if (order === 0) {
        if (size === "0") this.levels.splice(middle, 1);
        else this.levels[middle] = entry(near, price, size);
        return;
      }
      if (order < 0) low = middle + 1;
      else high = middle;
    }
    if (size !== "0") this.levels.splice(low, 0, entry(near, price, size));
  }

  digits(): string {
    let text = "";
    const count = Math.min(CHECKSUM_LEVELS, this.levels.length);
    for (let i = 0; i < count; i += 1) text += (this.levels[i] as Entry).digits;
    return text;
  }

  top(count: number): Level[] {
    return this.levels.slice(0, count).map(({ price, size }) => [price, size]);
  }
}

function entry(near: number, price: string, size: string): Entry {
  const digits = (text: string): string => text.replace(".", "").replace(/^0+/, "");
  return { near, price, size, digits: digits(price) + digits(size) };
}

/** One instrument's order book. See {@link Client.book} for one that the client keeps. */
export class Book {
  private bidSide = new Side(-1);
  private askSide = new Side(1);
  private at: Position | undefined;
  /** The instrument, once a message told it. */
  symbol: string | undefined;
  /** When the book took this state: microseconds since the Unix epoch, by its source. */
  time: number | undefined;

  /** The position of the last message that the book contains; `undefined` while the book is stale. */
  get position(): Position | undefined {
    return this.at && { ...this.at };
  }

  /** Whether the book shows nothing because it is not known. */
  get isStale(): boolean {
    return this.at === undefined;
  }

  /** All bids, best first. */
  get bids(): Level[] {
    return this.bidSide.top(LEVELS_MAX);
  }

  /** All asks, best first. */
  get asks(): Level[] {
    return this.askSide.top(LEVELS_MAX);
  }

  /** The best `count` levels of each side, best first. Both are empty while the book is stale. */
  topOf(count: number): { bids: Level[]; asks: Level[] } {
    return { bids: this.bidSide.top(count), asks: this.askSide.top(count) };
  }

  /** The checksum of the current book, as the broker computes it. */
  checksum(): number {
    return crc32(this.askSide.digits() + this.bidSide.digits());
  }

  /** Replaces the book with the data of a snapshot. Returns what is wrong with it, if anything: the book is stale then. */
  snapshot(epoch: string, seq: Seq, data: unknown): BookFault | undefined {
    this.makeStale();
    return this.apply({ epoch, seq }, data, true);
  }

  /** Applies the data of an update. Returns what is wrong with it, if anything: the book is stale then. */
  update(seq: Seq, data: unknown): BookFault | undefined {
    const at = this.at;
    if (!at) return { fault: "no_snapshot", seq };
    const expected = next(at.seq);
    if (expected !== seq) {
      this.makeStale();
      return { fault: "hole", seq, expected };
    }
    return this.apply({ epoch: at.epoch, seq }, data, false);
  }

  /** Makes the book empty and usable: the topic has no message yet. */
  begin(epoch: string): void {
    this.makeStale();
    this.at = { epoch, seq: 0 };
  }

  /** Empties the book and makes it stale, as a gap does: only a snapshot makes the book usable again. */
  makeStale(): void {
    this.bidSide.levels = [];
    this.askSide.levels = [];
    this.at = undefined;
  }

  private apply(at: Position, data: unknown, isWhole: boolean): BookFault | undefined {
    const found = this.change(at, data, isWhole);
    if (found) this.makeStale();
    else this.at = at;
    return found;
  }

  private change({ seq }: Position, data: unknown, isWhole: boolean): BookFault | undefined {
    const malformed = (what: string): BookFault => ({ fault: "malformed", seq, what });
    if (typeof data !== "object" || data === null) return malformed("data");
    const { symbol, bids = [], asks = [], checksum = 0, time } = data as Record<string, unknown>;
    if (typeof symbol !== "string") return malformed("symbol");
    if (!Number.isSafeInteger(time)) return malformed("time");
    if (!Number.isInteger(checksum)) return malformed("checksum");
    // Every level is read before the first is set.
    const changes: [Side, string, string][] = [];
    for (const [side, levels] of [
      [this.bidSide, bids],
      [this.askSide, asks],
    ] as [Side, unknown][]) {
      if (!Array.isArray(levels)) return malformed("side");
      for (const level of levels as unknown[]) {
        if (!Array.isArray(level) || level.length !== 2) return malformed("level");
        const [price, size] = level.map(normalDecimal);
        if (price === undefined || size === undefined) return malformed("decimal");
        if (price.startsWith("-") || size.startsWith("-") || (isWhole && size === "0")) {
          return { fault: "bad_level", seq, price, size };
        }
        changes.push([side, price, size]);
      }
    }
    for (const [side, price, size] of changes) side.set(price, size);
    const levels = Math.max(this.bidSide.levels.length, this.askSide.levels.length);
    if (levels > LEVELS_MAX) return { fault: "too_many_levels", seq, levels };
    const computed = this.checksum();
    if (computed !== checksum) return { fault: "wrong_checksum", seq, announced: checksum, computed };
    this.symbol = symbol;
    this.time = time as number;
    return undefined;
  }
}
