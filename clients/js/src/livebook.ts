/** An order book that the client keeps. */

import type { Book, Level } from "./book.js";
import type { Event } from "./queue.js";
import type { Subscription } from "./subscription.js";
import type { Position } from "./types.js";

/**
 * The order book of a topic. It is verified at each message; when it does not fit, it is stale until the broker's fresh snapshot
 * has come, which the client asks for by itself.
 */
export class LiveBook {
  private why: string | undefined;

  /** @internal */
  constructor(
    readonly topic: string,
    private readonly kept: Book,
    /** The subscription behind the book: its `granted`, its `synced`, its other events. */
    readonly subscription: Subscription,
  ) {
    subscription.on("event", (event: Event<unknown>) => {
      if (event.type === "stale") this.why = event.reason;
      if (event.type === "live") this.why = undefined;
    });
  }

  /** Calls `listener` after each change. Returns a function that ends it. */
  onChange(listener: (book: LiveBook) => void): () => void {
    return this.subscription.on("event", () => listener(this));
  }

  /** Whether the book shows nothing because it is not known. */
  get isStale(): boolean {
    return this.kept.isStale;
  }

  /** Why the book may differ from its source's, although it is the broker's: `partial`, `hole` or `crossed`. */
  get doubt(): string | undefined {
    return this.why;
  }

  /** The position of the last message that the book contains; `undefined` while it is stale. */
  get position(): Position | undefined {
    return this.kept.position;
  }

  /** The instrument, once a message told it. */
  get symbol(): string | undefined {
    return this.kept.symbol;
  }

  /** When the book took this state: microseconds since the Unix epoch, by its source. */
  get time(): number | undefined {
    return this.kept.time;
  }

  /** All bids, best first. */
  get bids(): Level[] {
    return this.kept.bids;
  }

  /** All asks, best first. */
  get asks(): Level[] {
    return this.kept.asks;
  }

  /** The best `count` levels of each side, best first. */
  topOf(count: number): { bids: Level[]; asks: Level[] } {
    return this.kept.topOf(count);
  }

  /** Ends the book's subscription. */
  async close(): Promise<void> {
    await this.subscription.unsubscribe();
  }
}
