/**
 * The client of Tickwire for browsers, Node, Deno, Bun and workers.
 *
 * @packageDocumentation
 */

export { Book, type BookFault, type Level } from "./book.js";
export {
  type Client,
  type ClientOptions,
  connect,
  type Published,
  type SubscribeOptions,
  type TokenSource,
} from "./client.js";
export { type Codec, json } from "./codec.js";
export {
  BrokenPromiseError,
  ClosedError,
  type PromiseName,
  ProtocolError,
  RefusedError,
  RequestError,
  TickwireError,
  UnansweredError,
} from "./errors.js";
export type { ClientEvent, Clocks, ConnectionEvent, Gap, Message, SubscriptionEvent, TopicEvent } from "./events.js";
export type { LiveBook } from "./livebook.js";
export type { Event } from "./queue.js";
export type { Seq } from "./seq.js";
export type { Subscription } from "./subscription.js";
export type { GapReason, Limits, Loss, Mode, Position, Positions, Refusal, Result } from "./types.js";
