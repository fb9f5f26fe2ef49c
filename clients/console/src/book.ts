// The order book of a topic, from a snapshot and the changes after it, with the checksum that each message carries
// (docs/PROTOCOL.md, "The checksum of a book").

export type Level = [price: string, size: string];

export interface BookData {
  symbol: string;
  bids: Level[];
  asks: Level[];
  checksum: number;
  time: number;
}

const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc;
});

function crc32(text: string): number {
  let crc = 0xffffffff;
  for (let at = 0; at < text.length; at += 1) crc = (CRC[(crc ^ text.charCodeAt(at)) & 0xff] ?? 0) ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

const digits = (decimal: string): string => decimal.replace(".", "").replace(/^0+/, "");

/** One side of a book, best price first. */
class Side {
  levels: Level[] = [];
  #prices: number[] = [];

  /** `sign` is 1 if the lowest price is the best. */
  constructor(private readonly sign: 1 | -1) {}

  clear(): void {
    this.levels = [];
    this.#prices = [];
  }

  set(level: Level): void {
    const price = Number(level[0]) * this.sign;
    let low = 0;
    let high = this.#prices.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#prices[middle] ?? 0) < price) low = middle + 1;
      else high = middle;
    }
    const found = this.#prices[low] === price;
    if (level[1] === "0") {
      if (!found) return;
      this.#prices.splice(low, 1);
      this.levels.splice(low, 1);
    } else if (found) {
      this.levels[low] = level;
    } else {
      this.#prices.splice(low, 0, price);
      this.levels.splice(low, 0, level);
    }
  }
}

export class Book {
  readonly bids = new Side(-1);
  readonly asks = new Side(1);
  /** Whether it is the broker's book: a snapshot has come, and nothing was missed since. */
  whole = false;

  reset(): void {
    this.whole = false;
    this.bids.clear();
    this.asks.clear();
  }

  /** Applies a message. Returns whether the book agrees with the broker's. */
  apply(data: BookData, isSnapshot: boolean): boolean {
    if (isSnapshot) {
      this.reset();
      this.whole = true;
    }
    if (!this.whole) return true;
    for (const level of data.bids) this.bids.set(level);
    for (const level of data.asks) this.asks.set(level);
    const text = (levels: Level[]): string =>
      levels
        .slice(0, 10)
        .map(([price, size]) => digits(price) + digits(size))
        .join("");
    this.whole = crc32(text(this.asks.levels) + text(this.bids.levels)) === data.checksum;
    return this.whole;
  }
}
