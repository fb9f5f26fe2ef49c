// Candles from trades, which come in their order, or from the messages of a topic of candles.

import type { PublishedCandle, Trade } from "./marketdata.ts";

export interface Candle {
  /** Its beginning in seconds since 1970. */
  time: number;
  open: number;
  high: number;
  low: number;
  close: number;
  volume: number;
}

/** Candles that are kept: older ones are dropped. */
const KEPT = 2_000;

export class Candles {
  list: Candle[] = [];

  constructor(readonly seconds: number) {}

  /** Adds a trade. Returns the candle that it changed. */
  add(trade: Trade): Candle {
    const price = Number(trade.price);
    const size = Number(trade.size);
    const start = Math.floor(trade.time / 1e6 / this.seconds) * this.seconds;
    const last = this.list.at(-1);
    // A trade that is reported late belongs to the last candle rather than before it.
    if (last && start <= last.time) {
      last.high = Math.max(last.high, price);
      last.low = Math.min(last.low, price);
      last.close = price;
      last.volume += size;
      return last;
    }
    const candle = { time: start, open: price, high: price, low: price, close: price, volume: size };
    this.list.push(candle);
    if (this.list.length > KEPT) this.list.shift();
    return candle;
  }
}

/**
 * Candles of a topic of candles, joined to longer ones if `seconds` asks for that. They may come in any order and more than
 * once: of each beginning the newest counts, and a closed one stays.
 */
export class PublishedCandles {
  list: Candle[] = [];
  /** The candles as they were published, by their beginnings, in order. */
  #parts: PublishedCandle[] = [];

  constructor(readonly seconds: number) {}

  /** Adds candles, the older ones first. */
  add(candles: PublishedCandle[]): void {
    for (const candle of candles) this.#put(candle);
    if (this.#parts.length > KEPT) this.#parts.splice(0, this.#parts.length - KEPT);
    const list: Candle[] = [];
    for (const part of this.#parts) {
      const time = Math.floor(part.start / 1e6 / this.seconds) * this.seconds;
      const last = list.at(-1);
      if (last?.time === time) {
        last.high = Math.max(last.high, Number(part.high));
        last.low = Math.min(last.low, Number(part.low));
        last.close = Number(part.close);
        last.volume += Number(part.volume);
      } else {
        const [open, high, low, close, volume] = [part.open, part.high, part.low, part.close, part.volume].map(Number);
        list.push({ time, open, high, low, close, volume } as Candle);
      }
    }
    // The chart draws everything anew if the first candle is another object.
    const first = this.list[0];
    if (first && list[0]?.time === first.time) list[0] = Object.assign(first, list[0]);
    this.list = list;
  }

  #put(candle: PublishedCandle): void {
    let at = this.#parts.length;
    while (at > 0 && (this.#parts[at - 1]?.start ?? 0) > candle.start) at -= 1;
    const known = this.#parts[at - 1];
    if (known?.start !== candle.start) this.#parts.splice(at, 0, candle);
    else if (!known.closed && candle.trades >= known.trades) this.#parts[at - 1] = candle;
  }
}
