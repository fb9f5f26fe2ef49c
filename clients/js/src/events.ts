/** What a client tells its program. */

import type { BrokenPromiseError, RefusedError, TickwireError } from "./errors.js";
import type { Seq } from "./seq.js";
import type { GapReason, Limits, Loss, Position, Result } from "./types.js";

/** A message of a topic. */
export interface Message<T = unknown> {
  type: "message";
  topic: string;
  /** The epoch of `seq`; `undefined` only after the broker broke its promise to tell it. */
  epoch: string | undefined;
  seq: Seq;
  /** When the message entered the broker, by its clock: microseconds since the Unix epoch. */
  ts: number;
  data: T;
  /** Whether this is the topic's value as of `seq`, and not the next message. */
  snapshot: boolean;
}

/** The messages `from` to `to` of a topic, both included, will not come. */
export interface Gap {
  type: "gap";
  topic: string;
  epoch: string;
  from: Seq;
  to: Seq;
  reason: GapReason;
}

/** What happens to a topic of a subscription. */
export type TopicEvent<T = unknown> =
  | Message<T>
  | Gap
  /** A topic appeared under a pattern. Its next message is the one after `seq`. */
  | { type: "joined"; topic: string; epoch: string; seq: Seq }
  /** The topic's source fell silent; with a `reason`, its book differs from the source's. */
  | { type: "stale"; topic: string; reason?: string }
  /** The topic's source came back. */
  | { type: "live"; topic: string }
  /** The replay that `from` asked for has come, up to `seq`: what follows of the topic is live. */
  | { type: "caught_up"; topic: string; seq: Seq }
  /** A state of the source that this version does not know. */
  | { type: "status"; topic: string; state: string; reason?: string; seq?: Seq }
  /** Nothing comes of this topic any more, unless it `joined` again. */
  | { type: "end"; topic: string; epoch: string; seq: Seq; reason: string }
  /**
   * After a reconnect the topic does not go on where it was left, and what was published between is not seen. Where the broker
   * sends a gap for it, this does not come.
   */
  | { type: "unresumed"; topic: string; last: Position; now: Seq }
  /** The broker broke a promise. The next event is the message that shows it. */
  | { type: "broken"; topic: string | undefined; error: BrokenPromiseError };

/** What happens to a subscription as a whole. */
export type SubscriptionEvent =
  /** The broker has answered the request: one result for each name. It comes before all messages. */
  | { type: "granted"; results: Result[] }
  /** Everything that these names begin with has come: what follows is live. Comes again after each reconnect. */
  | { type: "synced"; topics: string[] }
  /**
   * After a reconnect this name is subscribed again: `resumed` of its topics go on with nothing missing, `notResumed` begin
   * anew. Both are 0 if there was nothing to go on from.
   */
  | { type: "recovered"; topic: string; resumed: number; notResumed: number }
  /** After a reconnect the broker refused this name for good: its subscription has ended. */
  | { type: "refused"; topic: string; error: RefusedError };

/** What happens to the connection. */
export type ConnectionEvent =
  | {
      type: "connected";
      url: string;
      transport: "websocket" | "sse";
      session: string;
      server: string;
      limits: Limits;
      /** How many connections of this client came before. */
      reconnects: number;
    }
  /** A connection ended. Without `retryInMs` the client has stopped. */
  | { type: "disconnected"; url: string; loss: Loss; retryInMs: number | undefined }
  /** An attempt to connect failed. Without `retryInMs` the client has stopped. */
  | { type: "failed"; url: string; loss: Loss; retryInMs: number | undefined }
  /** The broker is about to stop, and told this client when to reconnect. The client does so by itself. */
  | { type: "draining"; reconnectAfterMs: number }
  /** The broker tells of something that no request asked for. */
  | { type: "error"; code: string; reason: string }
  /** The client has stopped. Nothing follows. `error` is why, if not because of `close()`. */
  | { type: "closed"; error: TickwireError | undefined };

/** Everything that a client tells. */
export type ClientEvent = TopicEvent | SubscriptionEvent | ConnectionEvent;

/** The offset between the broker's clock and this machine's, from one ping and its pong. */
export interface Clocks {
  /** The broker's time when it answered, in microseconds since the Unix epoch. */
  broker: number;
  /** How far the broker's clock is ahead of this machine's, in microseconds. Wrong by at most half of the round trip. */
  offsetUs: number;
  /** The time that ping and pong were under way, together, in microseconds. */
  roundTripUs: number;
}
