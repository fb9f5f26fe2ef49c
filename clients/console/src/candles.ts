// Candles from trades, which come in their order.

import type { Trade } from "./marketdata.ts";

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
