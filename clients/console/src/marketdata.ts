// The messages of a market (docs/PROTOCOL.md, "Market data"). The broker checks books only: whoever may publish to the
// other topics can put anything there, so a ticker or a trade is one only after a look here.

export interface Ticker {
  symbol: string;
  last: string;
  bid: string;
  ask: string;
  change_pct: string;
  volume: string;
}

export interface Trade {
  price: string;
  size: string;
  side: "buy" | "sell";
  /** In microseconds since 1970. */
  time: number;
}

export interface PublishedCandle {
  /** Its beginning in microseconds since 1970. */
  start: number;
  open: string;
  high: string;
  low: string;
  close: string;
  volume: string;
  trades: number;
  closed: boolean;
}

const DECIMAL = /^-?\d{1,28}(\.\d{1,28})?$/;
/** The largest price that the chart of candles can show. */
const PRICE_MAX = 9e13;

const isDecimal = (value: unknown): value is string => typeof value === "string" && DECIMAL.test(value);
const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;

/** The ticker that a message in `topic` holds, if it is one. Its symbol is the one that the topic names. */
export function tickerOf(topic: string, data: unknown): Ticker | undefined {
  if (!isObject(data)) return undefined;
  const { last, bid, ask, change_pct, volume } = data;
  if (![last, bid, ask, change_pct, volume].every(isDecimal)) return undefined;
  return { symbol: topic.slice(topic.indexOf(".") + 1), last, bid, ask, change_pct, volume } as Ticker;
}

/** The trade that a message holds, if it is one. */
export function tradeOf(data: unknown): Trade | undefined {
  if (!isObject(data)) return undefined;
  const { price, size, side, time } = data;
  if (!isDecimal(price) || Math.abs(Number(price)) > PRICE_MAX || !isDecimal(size) || size.startsWith("-")) return undefined;
  if (side !== "buy" && side !== "sell") return undefined;
  if (!Number.isSafeInteger(time) || (time as number) < 0) return undefined;
  return { price, size, side, time: time as number };
}

/** The candle that a message holds, if it is one. */
export function candleOf(data: unknown): PublishedCandle | undefined {
  if (!isObject(data)) return undefined;
  const { start, open, high, low, close, volume, trades, closed } = data;
  const prices = [open, high, low, close];
  if (!prices.every(isDecimal) || prices.some((price) => Math.abs(Number(price)) > PRICE_MAX)) return undefined;
  if (!isDecimal(volume) || volume.startsWith("-") || typeof closed !== "boolean") return undefined;
  if (![start, trades].every((number) => Number.isSafeInteger(number) && (number as number) >= 0)) return undefined;
  return { start, open, high, low, close, volume, trades, closed } as PublishedCandle;
}
