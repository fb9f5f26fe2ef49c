/**
 * The messages of the protocol, version 1, as types, and what a program hears from the client.
 *
 * Times are integers: microseconds since the Unix epoch, by the broker's clock.
 */

import type { Seq } from "./seq.js";

/** How much of a topic a subscription gets. */
export type Mode = "every" | "conflate" | "snapshot";

/** The place in a topic that a program has reached. Numbers of different epochs cannot be compared. */
export interface Position {
  epoch: string;
  seq: Seq;
}

/** Positions by topic: what to keep, and what `since` takes to go on from there. */
export type Positions = Record<string, Position>;

/** The positions of one epoch, as the wire has them. */
export interface Lineage {
  epoch: string;
  seqs: Record<string, Seq>;
}

/** An entry of `subscribe`: a name, or a name and the positions to resume from or the moment to begin with. */
export type TopicRequest =
  | string
  | { topic: string; since: Position | Lineage[]; from?: undefined }
  | { topic: string; since?: undefined; from: number | string; speed?: number };

/** A request, as the codecs encode it. */
export type Request =
  | {
      op: "subscribe";
      id: number;
      topics: TopicRequest[];
      mode?: Mode | undefined;
      conflate_ms?: number | undefined;
      snapshot?: boolean | undefined;
    }
  | { op: "positions"; id: number; since: Lineage[] }
  | { op: "unsubscribe"; id: number; topics: string[] }
  | { op: "publish"; id: number; topic: string; data: unknown; key?: string | undefined }
  | { op: "resync"; id: number; topic: string }
  | { op: "auth"; id: number; token: string }
  | { op: "ping"; id: number };

/** Why the broker refused something. Programs look at `code`, people read `reason`. */
export interface Refusal {
  code: string;
  reason: string;
  retryable?: boolean;
}

/** What became of one topic or pattern of a request. */
export interface Result {
  topic: string;
  /** The number of topics that a pattern matches now. */
  matched?: number;
  epoch?: string;
  seq?: Seq;
  mode?: Mode;
  /** The modes by kind of topic, if a pattern stands for several kinds. */
  modes?: Record<string, Mode>;
  conflate_ms?: number;
  /** Whether a topic goes on where `since` said. */
  recovered?: boolean;
  /** The stored messages that come first, if `from` asked for them. There are none if `from_seq` is behind `to_seq`. */
  replay?: { from_seq: Seq; to_seq: Seq };
  /** The time of the oldest stored message, if messages since `from` are no longer stored. */
  not_stored?: number;
  /** How many topics of a pattern go on where `since` said, and how many do not. */
  resumed?: number;
  not_resumed?: number;
  /** Whether a publication with this key was published before. */
  duplicate?: boolean;
  /** Why this topic was refused. */
  error?: Refusal;
}

/** The limits that the broker announces to a connection. A rate of 0 is no limit. */
export interface Limits {
  subscriptions: number;
  message_bytes: number;
  ops_per_s: number;
  ops_burst: number;
  publishes_per_s: number;
  publishes_burst: number;
}

/** Why messages will not come. `consumer` is the client's own: the program did not take them in time. */
export type GapReason = "slow" | "history" | "epoch" | "consumer" | (string & {});

/** A message of the broker, after it was checked to have the fields of its op. */
export type ServerMessage =
  | { op: "update"; topic: string; seq: Seq; ts: number; data: unknown }
  | { op: "snapshot"; topic: string; epoch: string; seq: Seq; ts: number; data: unknown }
  | {
      op: "welcome";
      session: string;
      server: string;
      ts: number;
      heartbeat_ms: number;
      limits: Limits;
      node?: string;
    }
  | { op: "ack"; id: number; results: Result[] }
  | { op: "synced"; id: number }
  | { op: "joined"; topic: string; epoch: string; seq: Seq }
  | { op: "gap"; topic: string; epoch: string; from: Seq; to: Seq; reason: GapReason }
  | { op: "status"; topic: string; state: string; reason?: string; seq?: Seq }
  | { op: "end"; topic: string; epoch: string; seq: Seq; reason: string }
  | { op: "heartbeat"; ts: number }
  | { op: "pong"; id?: number; ts: number; received?: number }
  | { op: "drain"; reconnect_after_ms: number; deadline_ms: number }
  | { op: "error"; id?: number; code: string; reason: string; retryable?: boolean };

/** How a connection ended. */
export type Loss =
  /** The broker closed it. `code` is 1005 if the close had none, and 1006 if there was no close. */
  | { type: "closed"; code: number; reason: string }
  /** Nothing came for longer than the heartbeats allow. */
  | { type: "silent"; afterMs: number }
  /** The broker sent something that is no message of the protocol. */
  | { type: "protocol"; reason: string }
  /** The broker drains, and this client left at the time that it was given. */
  | { type: "drained" }
  /** No connection was made. */
  | { type: "failed"; reason: string; status: number | undefined };
