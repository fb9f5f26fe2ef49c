/**
 * When to send. Pure: time is an argument.
 *
 * A bucket holds four fifths of the announced burst, because requests that left at intervals may arrive together.
 */

import type { Limits } from "./types.js";

/** A token bucket. */
class Rate {
  private level: number;
  private readonly full: number;

  constructor(
    private readonly perSecond: number,
    burst: number,
    private at: number,
  ) {
    const most = Math.max(burst, perSecond);
    this.full = Math.max(1, most - Math.floor(most / 5));
    this.level = this.full;
  }

  /** Takes a place for a request. Returns the milliseconds to wait if there is none. */
  take(now: number): number {
    if (this.perSecond === 0) return 0;
    const passed = Math.max(0, now - this.at);
    this.level = Math.min(this.full, this.level + (passed * this.perSecond) / 1_000);
    this.at += passed;
    if (this.level < 1) return Math.max(0.001, ((1 - this.level) * 1_000) / this.perSecond);
    this.level -= 1;
    return 0;
  }
}

/** Keeps requests within the rates that the broker announced. */
export class Pace {
  private readonly requests: Rate;
  private readonly publications: Rate;

  constructor(limits: Limits, now: number) {
    this.requests = new Rate(limits.ops_per_s, limits.ops_burst, now);
    // A broker that announces no rate of publications counts them among the requests.
    this.publications =
      limits.publishes_per_s > 0 ? new Rate(limits.publishes_per_s, limits.publishes_burst, now) : this.requests;
  }

  /** As {@link Rate.take}, for a request of kind `op`. */
  take(op: string, now: number): number {
    return (op === "publish" ? this.publications : this.requests).take(now);
  }
}
