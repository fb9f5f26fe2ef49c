/**
 * Keeps one client connected, as a pure state machine: what happens and what time it is go in, and what to do comes out as
 * {@link Action}s. It reads no clock and no chance, and opens no socket.
 *
 * The shell that owns the socket calls a method for each thing that happens, then does all {@link Core.actions}, and calls
 * {@link Core.tick} at {@link Core.wakeAt}. Each attempt to connect has a number; what an older attempt says is ignored.
 */

import type { Codec } from "./codec.js";
import { type ProtocolError, TickwireError } from "./errors.js";
import type { ClientEvent, Clocks } from "./events.js";
import type { Wanted } from "./ledger.js";
import { toMessage } from "./message.js";
import { Nodes } from "./nodes.js";
import { Pace } from "./pace.js";
import { type Asking, type Moment, NO_LIMITS, type Reply, Session } from "./session.js";
import type { Loss, Request, ServerMessage, TopicRequest } from "./types.js";

/** How long requests under way may delay the reconnect that a drain asked for. */
const SETTLE_MAX_MS = 2_000;
/** When to try again to restore subscriptions that the broker refused for the time being. */
const RETRY_AFTER_MS = 1_000;
/** Latest time for the reconnect of a drain, whatever the broker says. */
const DRAIN_MAX_MS = 3_600_000;
/** Most of a `Retry-After` that is honoured. */
const RETRY_AFTER_MAX_MS = 300_000;
/** How long a connection must last to end an outage: the next outage begins with the shortest wait. */
const STABLE_MS = 10_000;
/** Most connections in a row that end with unreadable data; the broker would send the same again. */
const UNREADABLE_MAX = 3;
/** Most handshakes in a row whose token is not accepted although the program was asked for a new one each time. */
const UNAUTHORIZED_MAX = 3;
/** How long server-sent events are used before WebSocket is tried again, at the next reconnect. */
const SSE_MS = 300_000;
/** The shortest time between two requests for a fresh snapshot of the same book. */
const RESYNC_MS = 1_000;
/** A timer that is later than this did not run because the machine slept or the program was busy. */
const LATE_MS = 1_000;

/** How a connection is made. A `probe` makes none: it only shows whether the broker can be reached over HTTP. */
export type Transport = "websocket" | "sse" | "probe";

/** What the shell has to do. */
export type Action =
  /** Connect to `url`. For `sse` these are the requests that the stream answers. */
  | { do: "dial"; attempt: number; url: string; transport: Transport; requests: Request[] }
  | { do: "send"; payload: string | Uint8Array<ArrayBuffer>; request: Request }
  /** End the connection, or the attempt to make one. */
  | { do: "hang up" }
  | { do: "tell"; event: ClientEvent };

export interface CoreSettings {
  urls: readonly string[];
  codec: Codec;
  /** Whether server-sent events are used where no WebSocket can be opened. */
  sse: boolean;
  /** Where the token of a handshake comes from. From a `function`, another one may succeed. */
  token: "none" | "text" | "function";
  /** Whether the first connection is tried again. */
  retryFirst: boolean;
  firstWaitMs: number;
  maxWaitMs: number;
  connectTimeoutMs: number;
  quietMarginMs: number;
  /** The time between two readings of the clocks; 0 for none. */
  clockMs: number;
  verifyBooks: string | undefined;
  random: () => number;
}

/** Why no connection was made, as the shell sees it. */
export interface Failure {
  reason: string;
  /** The status of the answer, if it was one of HTTP. */
  status?: number;
  retryAfterMs?: number;
  /** Whether another attempt makes no sense. */
  isFinal?: boolean;
}

type Phase = "idle" | "waiting" | "dialing" | "open" | "stopped";

export class Core {
  readonly actions: Action[] = [];
  readonly session: Session;
  private phase: Phase = "idle";
  private attempt = 0;
  private readonly nodes: Nodes;
  private transport: Transport = "websocket";
  private connections = 0;
  private pace = new Pace(NO_LIMITS, 0);
  /** The waits of this outage. */
  private waits = 0;
  /** When to connect, in the state `waiting`. */
  private dialAt = 0;
  /** When the attempt is given up, in the state `dialing`. */
  private connectBy = 0;
  private openedAt = 0;
  private heardAt = 0;
  private quietMs = 0;
  /** When to leave a broker that drains; 0 if it does not. */
  private reconnectAt = 0;
  /** When to look again whether to leave. */
  private leaveAt = 0;
  /** Whether a stream is replaced by one with other topics, which is no reconnect for the program. */
  private isReopening = false;
  /** Why no WebSocket could be opened, if server-sent events are tried in its place. */
  private blocked: Failure | undefined;
  /** Whether a connection of this outage ended with a drain. */
  private drained = false;
  private unreadable = 0;
  private unauthorized = 0;
  /** Whether the broker was reached over HTTP after a WebSocket was not opened. */
  private isProved = false;
  /** Until when WebSocket is taken for blocked. */
  private blockedUntil = 0;
  private retryAt = Number.POSITIVE_INFINITY;
  private pingAt = Number.POSITIVE_INFINITY;
  private sendAt = Number.POSITIVE_INFINITY;
  private expireAt = Number.POSITIVE_INFINITY;
  /** Books that do not fit, until their snapshot comes: when to ask for it. */
  private resyncAt = new Map<string, number>();
  /** Those of them that the last connection left. */
  private booksLeft: string[] = [];
  /** When a snapshot of a book was asked for. */
  private resyncedAt = new Map<string, number>();
  /** The readings of the clocks on this connection, the newest last. */
  private readings: Clocks[] = [];

  constructor(private readonly settings: CoreSettings) {
    this.nodes = new Nodes(settings.urls, settings.random);
    this.session = new Session(settings.codec, settings.verifyBooks, settings.token === "none");
  }

  get isStopped(): boolean {
    return this.phase === "stopped";
  }

  /** The best reading of the last few, if there is one. */
  get clocks(): Clocks | undefined {
    return this.readings.reduce<Clocks | undefined>(
      (best, next) => (best && best.roundTripUs <= next.roundTripUs ? best : next),
      undefined,
    );
  }

  /** Begins with the first connection. */
  start(at: Moment): void {
    this.dialFirst(at);
  }

  /** Asks the broker. The answer goes to `reply`. */
  request(asking: Asking, reply: Reply, at: Moment): void {
    this.expireAt = Math.min(this.expireAt, reply.deadline);
    this.session.request(asking, reply);
    this.reopenIfFixed(asking.op, at);
    this.flush(at);
  }

  subscribe(wanted: Wanted, topics: TopicRequest[], reply: Reply, at: Moment): void {
    this.expireAt = Math.min(this.expireAt, reply.deadline);
    this.session.subscribe(wanted, topics, reply);
    this.reopenIfFixed("subscribe", at);
    this.flush(at);
  }

  /** A stream of server-sent events has its topics from the beginning: what changes them begins another stream. */
  private reopenIfFixed(op: string, at: Moment): void {
    if (this.transport !== "sse" || op === "publish" || op === "ping") return;
    if (this.phase !== "open" && this.phase !== "dialing") return;
    this.session.endStream();
    if (this.phase === "open") this.isReopening = true;
    this.phase = "waiting";
    this.dialAt = at.now;
    this.hangUp();
  }

  /** The answer to request `id`, which did not go over the connection. `undefined`: there was none. */
  answered(id: number, message: ServerMessage | undefined, at: Moment): void {
    this.session.settle(id, message, at);
    this.tellEvents();
  }

  /** The network may be back: connects at once, if it only waits. */
  hurry(at: Moment): void {
    if (this.phase === "waiting" && !this.reconnectAt) this.dialAt = at.now;
  }

  /** Stops for good. */
  close(): void {
    if (this.phase !== "stopped") this.stop(undefined, this.phase === "open" || this.phase === "dialing");
  }

  /** A message of `attempt` came. */
  received(attempt: number, payload: string | ArrayBuffer, at: Moment): void {
    let message: ServerMessage | undefined;
    if (this.isOf(attempt)) {
      try {
        message = toMessage(this.settings.codec.decode(payload));
      } catch (error) {
        this.hangUp();
        this.lost({ type: "protocol", reason: (error as ProtocolError).message }, at);
        return;
      }
    }
    this.heard(attempt, message, at);
  }

  /** A message of `attempt` came, already read. `undefined`: one that is not known. */
  heard(attempt: number, message: ServerMessage | undefined, at: Moment): void {
    if (!this.isOf(attempt)) return;
    this.heardAt = at.now;
    if (this.phase === "dialing") {
      if (message?.op === "welcome") this.welcomed(message, at);
      else this.failed(attempt, { reason: "its first message is no welcome", isFinal: true }, at);
      return;
    }
    if (message) this.handle(message, at);
    if (!this.leaves(at)) this.flush(at);
  }

  private isOf(attempt: number): boolean {
    return attempt === this.attempt && (this.phase === "dialing" || this.phase === "open");
  }

  /** The connection of `attempt` ended, whether or not it was welcomed. Code 1006: without a close. */
  closed(attempt: number, code: number, reason: string, at: Moment): void {
    if (this.isOf(attempt)) this.lost({ type: "closed", code, reason }, at);
  }

  /** `attempt` made no connection. */
  failed(attempt: number, failure: Failure, at: Moment): void {
    if (!this.isOf(attempt)) return;
    this.hangUp();
    if (this.fallsBack(failure, at)) return;
    this.endSession();
    if (this.transport === "sse") this.blockedUntil = 0;
    // What is not the broker's own answer to a stream says less than why there is no WebSocket.
    const isTelling = [401, 403, 429, 503].includes(failure.status ?? 0) || failure.isFinal;
    const told = this.transport !== "websocket" && this.blocked && !isTelling ? this.blocked : failure;
    const { reason, status, retryAfterMs = 0, isFinal = false } = told;
    const isUnauthorized = status === 401 && this.settings.token === "function";
    this.unauthorized = isUnauthorized ? this.unauthorized + 1 : 0;
    const mayPass = status === undefined || status === 408 || status === 429 || status >= 500;
    const makesSense = !isFinal && (mayPass || (isUnauthorized && this.unauthorized < UNAUTHORIZED_MAX));
    this.ended({ type: "failed", reason, status }, makesSense, at, Math.min(RETRY_AFTER_MAX_MS, retryAfterMs));
  }

  /**
   * Goes on with server-sent events if no WebSocket can be opened although the broker is there. A broker that was away for a
   * moment looks the same, so it is reached over HTTP first, and then a WebSocket is tried once more. Returns whether to wait.
   */
  private fallsBack(failure: Failure, at: Moment): boolean {
    if (this.transport !== "websocket" || !this.settings.sse || failure.isFinal) return false;
    // Another node may take a WebSocket.
    if (!this.nodes.isLast(this.openedAt)) return false;
    // The broker itself has answered: it would say the same to a stream.
    const { status } = failure;
    if (status !== undefined && status < 500 && status !== 404) return false;
    this.blocked = failure;
    this.session.end();
    if (this.isProved) this.blockedUntil = at.now + SSE_MS;
    this.dial(this.isProved ? "sse" : "probe", at);
    return true;
  }

  /** The broker was reached over HTTP. */
  probed(attempt: number, at: Moment): void {
    if (!this.isOf(attempt)) return;
    this.isProved = true;
    this.dial("websocket", at);
  }

  /** A connection ended. */
  private lost(loss: Loss, at: Moment): void {
    this.unreadable = loss.type === "protocol" ? this.unreadable + 1 : 0;
    const mayRetry = isRetryable(loss) && this.unreadable < UNREADABLE_MAX;
    if (this.phase === "dialing") {
      const isCut = loss.type === "closed" && loss.code === 1006;
      if (isCut && this.fallsBack({ reason: "the connection broke" }, at)) return;
    } else if (at.now - this.openedAt >= STABLE_MS) {
      this.outageIsOver();
    }
    this.endSession();
    this.tellEvents();
    this.ended(loss, mayRetry, at);
  }

  /**
   * Waits for the next attempt, or stops. `mayPass`: whether another connection to this node makes sense. One that was made and
   * forbids another forbids it at every node.
   */
  private ended(loss: Loss, mayPass: boolean, at: Moment, askedMs = 0): void {
    const { url } = this.nodes;
    const type = this.phase === "open" ? "disconnected" : "failed";
    const isFirst = this.connections === 0 && !this.settings.retryFirst;
    // The broker itself spreads the clients of a drain. Brokers that drain every connection at once must not make the client
    // connect in a loop.
    const isDrain = this.reconnectAt > 0 && !this.drained;
    this.drained ||= isDrain;
    this.isReopening = false;
    let retryInMs: number | undefined;
    if ((mayPass || type === "failed") && !(isFirst && this.nodes.isLast(0))) {
      retryInMs = this.nodes.failed(at.now, askedMs, mayPass, () => (isDrain ? 0 : this.backoffWait()));
    }
    if (retryInMs !== undefined) retryInMs = Math.max(retryInMs, this.reconnectAt - at.now);
    this.tell({ type, url, loss, retryInMs });
    if (retryInMs === undefined) {
      this.stop(explain(loss, url), false);
    } else {
      this.phase = "waiting";
      this.dialAt = at.now + retryInMs;
      if (retryInMs <= 0) this.dialFirst(at);
    }
  }

  private tell(event: ClientEvent): void {
    this.actions.push({ do: "tell", event });
  }

  private hangUp(): void {
    this.actions.push({ do: "hang up" });
  }

  private endSession(): void {
    if (this.transport === "sse") this.session.endStream();
    else this.session.end();
  }

  /** A random wait, which spreads the clients of a dead broker most evenly. Its ceiling doubles with each of an outage. */
  private backoffWait(): number {
    const { firstWaitMs, maxWaitMs, random } = this.settings;
    const ceiling = Math.min(maxWaitMs, firstWaitMs * 2 ** this.waits);
    this.waits += 1;
    return ceiling * random();
  }

  private outageIsOver(): void {
    this.drained = false;
    this.waits = 0;
    this.unreadable = 0;
    this.nodes.lasted();
  }

  /** Begins a new attempt. */
  private dialFirst(at: Moment): void {
    this.isProved = false;
    this.dial(at.now < this.blockedUntil ? "sse" : "websocket", at);
  }

  private dial(transport: Transport, at: Moment): void {
    this.attempt += 1;
    this.phase = "dialing";
    this.transport = transport;
    this.reconnectAt = 0;
    this.retryAt = Number.POSITIVE_INFINITY;
    this.pingAt = Number.POSITIVE_INFINITY;
    this.sendAt = Number.POSITIVE_INFINITY;
    this.connectBy = at.now + this.settings.connectTimeoutMs;
    const requests = transport === "sse" ? this.session.beginStream(at) : [];
    this.actions.push({ do: "dial", attempt: this.attempt, url: this.nodes.url, transport, requests });
  }

  private welcomed(welcome: ServerMessage & { op: "welcome" }, at: Moment): void {
    const isSse = this.transport === "sse";
    this.phase = "open";
    this.openedAt = at.now;
    this.unauthorized = 0;
    this.readings = [];
    this.booksLeft = [...this.resyncAt.keys()];
    for (const topic of this.booksLeft) this.resyncAt.set(topic, Number.POSITIVE_INFINITY);
    this.quietMs = 2 * welcome.heartbeat_ms + this.settings.quietMarginMs;
    this.pace = new Pace(isSse ? NO_LIMITS : welcome.limits, at.now);
    const { session, server, limits } = welcome;
    const reconnects = this.connections;
    if (!this.isReopening) {
      this.connections += 1;
      this.tell({
        type: "connected",
        url: this.nodes.url,
        transport: isSse ? "sse" : "websocket",
        session,
        server,
        limits,
        reconnects,
      });
    }
    this.isReopening = false;
    if (!isSse) {
      this.blockedUntil = 0;
      this.session.begin(limits);
      // The broker closes a connection without a request, so the first reading is also a sign of life.
      if (this.settings.clockMs > 0) this.pingAt = at.now;
    }
    this.handle(welcome, at);
    this.flush(at);
  }

  private handle(message: ServerMessage, at: Moment): void {
    if (message.op === "drain") {
      this.reconnectAt = at.now + Math.min(message.reconnect_after_ms, DRAIN_MAX_MS);
      this.leaveAt = this.reconnectAt;
    }
    this.session.received(message, at);
    if (this.session.hasUnrestored) this.retryAt = Math.min(this.retryAt, at.now + RETRY_AFTER_MS);
    this.tellEvents(at);
  }

  private tellEvents(at?: Moment): void {
    for (const event of this.session.events.splice(0)) {
      this.tell(event);
      if (at) this.mindBooks(event, at.now);
    }
  }

  /** A book that does not fit needs a fresh snapshot, also if the connection is lost before it comes. */
  private mindBooks(event: ClientEvent, now: number): void {
    if (event.type === "broken" && event.error.promise === "book" && event.topic !== undefined) {
      const last = this.resyncedAt.get(event.topic) ?? -RESYNC_MS;
      this.resyncAt.set(event.topic, Math.max(now, last + RESYNC_MS));
    } else if (event.type === "message" && event.snapshot && this.resyncAt.size > 0) {
      if (!this.session.checker.bookOf(event.topic)?.isStale) this.resyncAt.delete(event.topic);
    } else if (event.type === "synced") {
      // What a new connection brings has come, and was no snapshot.
      for (const topic of this.booksLeft.splice(0)) if (this.resyncAt.has(topic)) this.resyncAt.set(topic, now);
    }
  }

  private resyncBooks(now: number): void {
    for (const [topic, due] of this.resyncAt) {
      if (now < due) continue;
      this.resyncAt.set(topic, Number.POSITIVE_INFINITY);
      if (!this.session.checker.known(topic)?.live) continue;
      this.resyncedAt.set(topic, now);
      // A refusal or loss changes nothing: the next connection brings the book or asks again.
      this.session.request({ op: "resync", topic });
    }
  }

  /** Sends what waits, as fast as the broker takes requests. */
  private flush(at: Moment): void {
    this.sendAt = Number.POSITIVE_INFINITY;
    if (this.phase !== "open" || this.isLeaving(at.now)) return;
    if (this.transport === "websocket") this.resyncBooks(at.now);
    for (let op = this.session.nextOp(at.now); op !== undefined; op = this.session.nextOp(at.now)) {
      const wait = this.pace.take(op, at.now);
      if (wait > 0) {
        this.sendAt = at.now + wait;
        return;
      }
      const sent = this.session.send(at);
      if (sent) this.actions.push({ do: "send", ...sent });
    }
  }

  private isLeaving(now: number): boolean {
    return this.reconnectAt > 0 && now >= this.reconnectAt;
  }

  /** Leaves a broker that drains, at the time that it gave: requests under way may delay that a little. */
  private leaves(at: Moment): boolean {
    if (this.phase !== "open" || !this.isLeaving(at.now)) return false;
    const last = this.reconnectAt + SETTLE_MAX_MS;
    if (!this.session.isSettled && at.now < last) {
      this.leaveAt = last;
      return false;
    }
    this.hangUp();
    this.lost({ type: "drained" }, at);
    return true;
  }

  /** Time has passed. */
  tick(at: Moment): void {
    if (at.now >= this.expireAt) this.expireAt = this.session.expire(at.now);
    if (this.phase === "waiting" && at.now >= this.dialAt) {
      this.dialFirst(at);
    } else if (this.phase === "dialing" && at.now >= this.connectBy) {
      const after = this.settings.connectTimeoutMs;
      this.failed(this.attempt, { reason: `no welcome within ${after} ms` }, at);
    } else if (this.phase === "open") {
      this.tickOpen(at);
    }
  }

  private tickOpen(at: Moment): void {
    const { now } = at;
    const late = now - (this.heardAt + this.quietMs);
    if (late >= 0) {
      if (late < LATE_MS) {
        this.hangUp();
        this.lost({ type: "silent", afterMs: this.quietMs }, at);
        return;
      }
      // The machine slept, or the program was busy: messages may be waiting that were not handled yet.
      this.heardAt = now - this.quietMs + Math.min(this.quietMs, LATE_MS);
    }
    if (this.leaves(at)) return;
    if (now >= this.retryAt) {
      this.retryAt = Number.POSITIVE_INFINITY;
      this.session.retryUnrestored();
    }
    if (now >= this.pingAt) {
      this.pingAt = now + this.settings.clockMs;
      this.session.request({ op: "ping" }, this.clockReply());
    }
    this.flush(at);
  }

  private clockReply(): Reply {
    const attempt = this.attempt;
    const nobody = (): void => {};
    return {
      // A lost or refused ping tells nothing of the clocks; the next one may.
      reject: nobody,
      deadline: Number.POSITIVE_INFINITY,
      resolve: (answer) => {
        if (attempt === this.attempt && !Array.isArray(answer)) this.read(answer);
      },
    };
  }

  /** Takes a reading of the clocks. */
  read(clocks: Clocks): void {
    this.readings.push(clocks);
    if (this.readings.length > 8) this.readings.shift();
  }

  /** When {@link tick} is due, if nothing happens before. */
  get wakeAt(): number {
    let at = this.expireAt;
    const due = (time: number): void => {
      at = Math.min(at, time);
    };
    if (this.phase === "waiting") due(this.dialAt);
    if (this.phase === "dialing") due(this.connectBy);
    if (this.phase === "open") {
      due(this.heardAt + this.quietMs);
      due(this.retryAt);
      due(this.pingAt);
      due(this.sendAt);
      if (this.reconnectAt) due(this.leaveAt);
      if (this.transport === "websocket") for (const time of this.resyncAt.values()) due(time);
    }
    return at;
  }

  private stop(error: TickwireError | undefined, isOpen: boolean): void {
    this.phase = "stopped";
    this.expireAt = Number.POSITIVE_INFINITY;
    if (isOpen) this.hangUp();
    this.session.stop(error);
    this.tellEvents();
    this.tell({ type: "closed", error });
  }
}

/** Whether another connection may be tried. 4000-4499 ask to reconnect, 4500-4999 forbid it. */
function isRetryable(loss: Loss): boolean {
  if (loss.type !== "closed") return true;
  const { code } = loss;
  return code !== 1002 && !(code >= 1007 && code <= 1010) && !(code >= 4500 && code <= 4999);
}

/** Why the client stops. */
function explain(loss: Loss, url: string): TickwireError {
  const { reason = "" } = loss as { reason?: string };
  const why = loss.type === "closed" ? `closed with code ${loss.code}${reason && ` (${reason})`}` : reason || loss.type;
  return new TickwireError(`${url}: ${why}`);
}
