/** The errors of the client. Each has a `name`, which stays the same in the minified bundle. */

import type { Seq } from "./seq.js";
import type { Position, Refusal } from "./types.js";

/** The base of all errors of this package. */
export class TickwireError extends Error {
  override name = "TickwireError";
}

/** The ways in which a broker can break what the protocol lets a client rely on. */
export type PromiseName =
  /** A message came again. */
  | "duplicate"
  /** A number is lower than one that came. */
  | "backward"
  /** Messages are missing in mode `every`, and no gap named them. */
  | "hole"
  /** A gap names messages that came. */
  | "gap_overlaps"
  /** A gap begins later than the first missing message. */
  | "gap_leaves_hole"
  /** A gap ends before it begins. */
  | "gap_empty"
  /** `recovered: true`, and the subscription was not recovered. */
  | "false_recovery"
  /** After `recovered: false` a gap ends before the head: part of a replay follows. */
  | "partial_replay"
  /** After `recovered: false` an update came before the snapshot or gap that gives the position. */
  | "no_position"
  /** A gap names another epoch, and its reason is not `epoch`. */
  | "silent_epoch"
  /** An update came of a topic whose epoch nothing had told. */
  | "unknown_lineage"
  /** A `joined` came of a topic whose epoch was known. */
  | "joined_again"
  /** A `caught_up` was not awaited, or its number is not that of the last message. */
  | "caught_up"
  /** A `synced` came to a request that waits for none. */
  | "unknown_synced"
  /** A `synced` came before all that its request brings. */
  | "synced_early"
  /** A pattern's ack counts fewer topics than the messages show. */
  | "resume_count"
  /** A `pong` was sent before its `ping` was read. */
  | "pong_times"
  /** A message of a topic came before the ack of its subscription. */
  | "before_ack"
  /** A message of a topic came after the ack that ended its subscription. */
  | "after_unsubscribe"
  /** A message came of a topic that no subscription covers. */
  | "never_subscribed"
  /** A book's changes do not lead to the state that the broker announced. */
  | "book"
  /** The first message was no welcome, or a later one was. */
  | "welcome"
  /** An answer came to a request that waits for none. */
  | "unknown_answer"
  /** An ack's results are not those of its request. */
  | "ack_mismatch"
  /** A message of a topic came after its end. */
  | "after_end";

/** What was known before the message that shows a broken promise. */
export interface Known {
  /** What is wrong, where a promise can be broken in several ways. */
  fault?: string;
  /** The last number of the topic. */
  last?: Seq;
  /** The last number that the broker told of when a resume failed. */
  head?: Seq;
  /** The epoch of the topic. */
  known?: string | undefined;
  /** The position to resume from. */
  since?: Position;
  /** The place in an ack where another topic was due, and that topic. */
  index?: number;
  expected?: unknown;
  /** Whether topics that are resumed were counted, or the others; their number by the ack, and by the messages. */
  resumed?: boolean;
  said?: number;
  shown?: number;
}

/** A broken promise, as a check finds it. */
export class Fault {
  constructor(
    readonly promise: PromiseName,
    readonly topic?: string | undefined,
    readonly known?: Known,
  ) {}
}

/**
 * The broker did not keep a promise of the protocol. `evidence` is the message that shows it, without its data, and what was
 * known before; `message` has all of it, which is enough for a bug report. The client goes on from what the broker claimed, so
 * a fault is told once.
 */
export class BrokenPromiseError extends TickwireError {
  override name = "BrokenPromiseError";
  constructor(
    readonly promise: PromiseName,
    readonly topic: string | undefined,
    readonly evidence: Readonly<Record<string, unknown>> = {},
  ) {
    const shown = JSON.stringify(evidence, (_, part: unknown) => (typeof part === "bigint" ? String(part) : part));
    super(`${topic === undefined ? "" : `${topic}: `}broken promise ${promise} ${shown}`);
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
