/** The errors of the client. Each has a `name`, which stays the same in the minified bundle. */

import type { Refusal } from "./types.js";

/** The base of all errors of this package. */
export class TickwireError extends Error {
  override name = "TickwireError";
}

/** The ways in which a broker can break what the protocol lets a client rely on. */
export type PromiseName =
  | "duplicate"
  | "backward"
  | "hole"
  | "gap_overlaps"
  | "gap_leaves_hole"
  | "gap_empty"
  | "false_recovery"
  | "partial_replay"
  | "no_position"
  | "silent_epoch"
  | "unknown_lineage"
  | "joined_again"
  | "unknown_synced"
  | "synced_early"
  | "resume_count"
  | "pong_times"
  | "before_ack"
  | "after_unsubscribe"
  | "never_subscribed"
  | "book"
  | "welcome"
  | "unknown_answer"
  | "ack_mismatch"
  | "after_end";

/**
 * The broker did not keep a promise of the protocol. `evidence` has the numbers, and `message` says the same in words:
 * it is enough for a bug report. The client goes on from what the broker claimed, so a fault is told once.
 */
export class BrokenPromiseError extends TickwireError {
  override name = "BrokenPromiseError";
  constructor(
    readonly promise: PromiseName,
    readonly topic: string | undefined,
    message: string,
    readonly evidence: Readonly<Record<string, unknown>>,
  ) {
    super(topic === undefined ? message : `${topic}: ${message}`);
  }
}

/** The broker refused a request. `code` is for programs; `retryable` says whether the same request may succeed later. */
export class RefusedError extends TickwireError {
  override name = "RefusedError";
  readonly code: string;
  readonly reason: string;
  readonly retryable: boolean;
  constructor(refusal: Refusal, topic?: string) {
    super(`${topic === undefined ? "" : `${topic}: `}${refusal.code}: ${refusal.reason}`);
    this.code = refusal.code;
    this.reason = refusal.reason;
    this.retryable = isRetryable(refusal);
  }
}

/** Whether the same request may succeed later. */
export function isRetryable(refusal: Refusal): boolean {
  return refusal.retryable ?? ["limit_exceeded", "rate_limited", "internal"].includes(refusal.code);
}

/** The connection was lost, or no answer came in time. Whether the request took effect is unknown. */
export class UnansweredError extends TickwireError {
  override name = "UnansweredError";
}

/** The request cannot be sent as it is: too long for the broker, or a value that the protocol cannot carry. */
export class RequestError extends TickwireError {
  override name = "RequestError";
}

/** The client has stopped. `cause` is why, if it did not stop because of `close()`. */
export class ClosedError extends TickwireError {
  override name = "ClosedError";
}

/** What came is no message of the protocol. */
export class ProtocolError extends TickwireError {
  override name = "ProtocolError";
}
