/**
 * The client's side of the protocol without sockets and clocks: requests and messages go in; frames, answers and events come
 * out.
 *
 * It outlives connections. It is bounded: it refuses a request while {@link OUTGOING_MAX} wait, and sends none while
 * {@link PENDING_MAX} wait for answers.
 */

import { Checker, nameOf } from "./checker.js";
import type { Codec } from "./codec.js";
import {
  BrokenPromiseError,
  ClosedError,
  Fault,
  isRetryable,
  RefusedError,
  RequestError,
  UnansweredError,
} from "./errors.js";
import type { ClientEvent, Clocks } from "./events.js";
import { byLineage, Ledger, type Start, sendAhead, type Wanted } from "./ledger.js";
import { GAP_SWALLOWED, RESUME_FROM_WRONG_SEQ } from "./planted.js";
import { before, next, type Seq } from "./seq.js";
import type { Limits, Lineage, Position, Refusal, Request, Result, ServerMessage, TopicRequest } from "./types.js";

/** Most requests that wait to be sent. */
const OUTGOING_MAX = 65_536;
/** Most requests that wait for answers. */
const PENDING_MAX = 1_024;

/** A moment on this machine: by a clock that is never corrected, in milliseconds, and by the system's, in microseconds. */
export interface Moment {
  now: number;
  wallUs: number;
}

/** Where the answer to a request goes. */
export interface Reply {
  resolve(answer: Result[] | Clocks): void;
  reject(error: Error): void;
  /** When to give up, on the clock of {@link Moment.now}. */
  deadline: number;
  /** Called when everything that a `subscribe` brings has come, or never will. */
  synced?(error?: Error): void;
}

/** What a request is for. Without a `reply` the session itself asks. */
interface Waiting {
  request: Request;
  reply?: Reply | undefined;
  wanted?: Wanted;
  /** Whether it restores what an earlier connection had: the next connection asks anew. */
  restores: boolean;
  sent?: Moment;
}

/** A topic that needs every message, and its position when the connection was lost. */
interface Left {
  last: Position;
  /** Whether the broker is told the position: it then names what is missing in a gap, unless a snapshot replaces it. */
  asked: boolean;
}

/** A request without its id. */
export type Asking =
  | { op: "unsubscribe"; topics: string[] }
  | { op: "publish"; topic: string; data: unknown; key?: string | undefined }
  | { op: "resync"; topic: string }
  | { op: "auth"; token: string }
  | { op: "ping" };

export const NO_LIMITS: Limits = {
  subscriptions: 0,
  message_bytes: Number.POSITIVE_INFINITY,
  ops_per_s: 0,
  ops_burst: 0,
  publishes_per_s: 0,
  publishes_burst: 0,
};

/** Of a request that was sent and not answered. */
const UNKNOWN = "it may have taken effect";

const utf8 = new TextEncoder();

/** The most that a text of UTF-16 units takes in UTF-8, or its exact length where that matters. */
function byteLength(payload: string | Uint8Array, max: number): number {
  if (typeof payload !== "string") return payload.length;
  return payload.length * 3 <= max ? payload.length : utf8.encode(payload).length;
}

export class Session {
  readonly checker: Checker;
  readonly ledger = new Ledger();
  /** What the program is to be told, in order. */
  readonly events: ClientEvent[] = [];
  limits = NO_LIMITS;
  /** The token of the last `auth` that succeeded. */
  token: string | undefined;
  private lastId = 0;
  private outgoing: Waiting[] = [];
  private unanswered = new Map<number, Waiting>();
  /** Positions that this connection has sent ahead of a user's `subscribe` that is still to be sent. */
  private ahead: Lineage[][] = [];
  /** Requests that were granted and whose `synced` has not come: the granted names, and whom to tell. */
  private syncing = new Map<number, { topics: string[]; reply: Reply | undefined }>();
  /** Subscriptions that the broker refused to restore for the time being. */
  private unrestored = new Set<string>();
  /** Topics whose next message will show whether they go on where they were left. */
  private unresumed = new Map<string, Left>();

  constructor(
    private readonly codec: Codec,
    verifyBooks: string | undefined,
    /** Whether a token of `auth` is shown again after a handshake, which shows none. */
    private readonly showsTokenLate: boolean,
  ) {
    this.checker = new Checker(verifyBooks);
  }

  /** Begins a connection with `limits`: queues what restores the subscriptions before what was asked for meanwhile. */
  begin(limits: Limits): void {
    const meanwhile = this.restart(limits, false);
    if (this.token !== undefined && this.showsTokenLate) {
      this.queue({ op: "auth", id: this.nextId(), token: this.token }, { restores: true });
    }
    this.restore(undefined);
    this.outgoing.push(...meanwhile);
  }

  /** Forgets what the last connection had. Returns the requests that wait. */
  private restart(limits: Limits, isStream: boolean): Waiting[] {
    this.limits = limits;
    this.checker.reconnected();
    this.watchForLosses(isStream);
    this.unrestored.clear();
    return this.outgoing.splice(0);
  }

  /**
   * Begins a stream of server-sent events, which has its topics from the beginning. Returns the requests that it answers,
   * and counts them as sent. The stream takes no positions of patterns, and none at all if there are patterns. What a stream
   * cannot be asked later is done here.
   */
  beginStream(at: Moment): Request[] {
    const subscribes: Waiting[] = [];
    const others: Waiting[] = [];
    const anew = new Set<string>();
    for (const waiting of this.restart(NO_LIMITS, true)) {
      const { request, reply } = waiting;
      if (request.op === "subscribe") subscribes.push(waiting);
      else if (request.op === "publish" || request.op === "ping") others.push(waiting);
      else {
        if (request.op === "unsubscribe") this.forget(request.topics);
        if (request.op === "auth") this.token = request.token;
        if (request.op === "resync") anew.add(request.topic);
        reply?.resolve(request.op === "unsubscribe" ? request.topics.map((topic) => ({ topic })) : []);
      }
    }
    this.restore(undefined, { anew, takesPositions: !this.ledger.hasPatterns });
    this.outgoing.push(...subscribes);
    const requests: Request[] = [];
    while (this.outgoing.length > 0) {
      const sent = this.send(at);
      if (sent) requests.push(sent.request);
    }
    this.outgoing = others;
    return requests;
  }

  /** Takes back what {@link beginStream} counted as sent: the stream was not made, or has to be made anew. */
  endStream(): void {
    const again: Waiting[] = [];
    for (const [id, waiting] of this.unanswered) {
      if (waiting.request.op === "publish") continue; // it is on a connection of its own
      this.unanswered.delete(id);
      if (!waiting.restores) again.push(waiting);
    }
    this.outgoing.unshift(...again);
    this.endSyncing();
  }

  /** Ends the connection. Requests that were sent and not answered fail; the others wait for the next connection. */
  end(): void {
    for (const { request, reply } of this.unanswered.values()) {
      if (request.op === "unsubscribe") this.forget(request.topics);
      fail(reply, new UnansweredError(`the connection was lost; ${UNKNOWN}`));
    }
    this.unanswered.clear();
    this.endSyncing();
    const waiting = this.outgoing.filter(
      ({ restores, reply, request }) => !restores && (reply || request.op !== "ping"),
    );
    // The broker has forgotten the positions that were sent ahead. The next one needs them before the `subscribe`.
    this.outgoing = [];
    for (const since of this.ahead) this.sendPositions(since, false);
    this.ahead = [];
    this.outgoing.push(...waiting);
  }

  private endSyncing(): void {
    for (const { reply } of this.syncing.values()) {
      reply?.synced?.(new UnansweredError("the connection was lost"));
    }
    this.syncing.clear();
  }

  /** Fails every request: the client has stopped. */
  stop(cause: Error | undefined): void {
    const all = [...this.outgoing, ...this.unanswered.values(), ...this.syncing.values()];
    this.outgoing = [];
    this.unanswered.clear();
    this.syncing.clear();
    for (const { reply } of all) {
      fail(reply, new ClosedError("the client is closed", { cause }));
    }
  }

  /** Whether no request waits for its answer. */
  get isSettled(): boolean {
    return this.unanswered.size === 0;
  }

  /** Whether subscriptions wait for another attempt to restore them. */
  get hasUnrestored(): boolean {
    return this.unrestored.size > 0;
  }

  /** Queues a request. Without `reply` nobody waits for its answer. */
  request(asking: Asking, reply?: Reply): void {
    if (asking.op === "publish" && asking.data === undefined) {
      reply?.reject(new RequestError("undefined cannot be published"));
    } else if (this.hasRoom(reply)) {
      this.queue({ ...asking, id: this.nextId() } as Request, { restores: false, reply });
    }
  }

  /** Queues a `subscribe`, with the positions of its patterns ahead of it if they are too many for one message. */
  subscribe(wanted: Wanted, topics: TopicRequest[], reply: Reply): void {
    if (!this.hasRoom(reply)) return;
    const requests = [...topics];
    for (const since of sendAhead(requests, this.limits.message_bytes)) this.sendPositions(since, false);
    this.queue(this.subscribeRequest(wanted, requests), { reply, wanted, restores: false });
  }

  private subscribeRequest({ mode, conflateMs, snapshot }: Wanted, topics: TopicRequest[]): Request {
    return {
      op: "subscribe",
      id: this.nextId(),
      topics,
      mode,
      conflate_ms: conflateMs,
      snapshot: snapshot && undefined,
    };
  }

  private hasRoom(reply: Reply | undefined): boolean {
    if (this.outgoing.length < OUTGOING_MAX) return true;
    reply?.reject(new RequestError("too many requests wait"));
    return false;
  }

  private nextId(): number {
    this.lastId += 1;
    return this.lastId;
  }

  private queue(request: Request, waiting: Omit<Waiting, "request">): void {
    this.outgoing.push({ request, ...waiting });
  }

  /** The op of the next request, if one may be sent. Drops requests that cannot be sent or that nobody waits for. */
  nextOp(now: number): string | undefined {
    while (this.unanswered.size < PENDING_MAX) {
      const first = this.outgoing[0];
      if (!first) return undefined;
      // A `subscribe` whose positions the broker already has is kept: they would apply to the next one.
      if (this.ahead.length > 0 || !isGivenUp(this.responsible(first), now)) return first.request.op;
      this.outgoing.shift();
    }
    return undefined;
  }

  /** The request that answers for `waiting`: for positions it is the `subscribe` that follows them. */
  private responsible(waiting: Waiting): Waiting {
    if (waiting.request.op !== "positions" || waiting.restores) return waiting;
    return this.outgoing.find(({ request }) => request.op === "subscribe") ?? waiting;
  }

  /** Takes the next request as the payload of a message, and counts it as sent. `undefined`: it could not be sent. */
  send(at: Moment): { request: Request; payload: string | Uint8Array<ArrayBuffer> } | undefined {
    const waiting = this.outgoing.shift();
    if (!waiting) return undefined;
    const { request, reply } = waiting;
    let payload: string | Uint8Array<ArrayBuffer>;
    try {
      payload = this.codec.encode(request);
      const max = this.limits.message_bytes;
      const bytes = byteLength(payload, max);
      if (bytes > max && reply) throw new RequestError(`the request has ${bytes} bytes of at most ${max}`);
    } catch (error) {
      reply?.reject(error instanceof RequestError ? error : new RequestError(String(error)));
      return undefined;
    }
    waiting.sent = at;
    this.checker.sent(request);
    if (request.op === "unsubscribe") this.forget(request.topics);
    else if (request.op === "subscribe") this.ahead = [];
    else if (request.op === "positions" && !waiting.restores) this.ahead.push(request.since);
    this.unanswered.set(request.id, waiting);
    return { request, payload };
  }

  /** Rejects what nobody should wait for any longer. Returns the next deadline. */
  expire(now: number): number {
    let earliest = Number.POSITIVE_INFINITY;
    for (const waiting of [...this.outgoing, ...this.unanswered.values()]) {
      const deadline = waiting.reply?.deadline ?? Number.POSITIVE_INFINITY;
      if (deadline > now) {
        earliest = Math.min(earliest, deadline);
        continue;
      }
      const wasSent = waiting.sent !== undefined;
      waiting.reply?.reject(new UnansweredError(`no answer in time; ${wasSent ? UNKNOWN : "it was not sent"}`));
    }
    // A `subscribe` stays: positions may have been sent ahead of it. `nextOp` decides.
    this.outgoing = this.outgoing.filter((waiting) => waiting.request.op === "subscribe" || !isGivenUp(waiting, now));
    return earliest;
  }

  /** Ends the wish to restore `topics`: when an `unsubscribe` is sent and when it ends, as acks may come in between. */
  private forget(topics: readonly string[]): void {
    for (const topic of topics) this.ledger.remove(topic);
    for (const topic of this.unresumed.keys()) if (!this.ledger.covers(topic)) this.unresumed.delete(topic);
  }

  /** Tries again to restore the subscriptions that the broker refused for the time being. */
  retryUnrestored(): void {
    const names = this.unrestored;
    this.unrestored = new Set();
    this.restore(names);
  }

  /** Records the topics that need every message, to report those that do not go on where they were left. */
  private watchForLosses(isStream: boolean): void {
    for (const track of this.checker.leftOff()) {
      // A topic without a position was waiting for a snapshot. The broker is not told where it was left and cannot name
      // what is missing, so the topic is watched even if its mode only may be `every`.
      const last = track.last();
      const asked = !isStream && track.position() !== undefined;
      if (last && (track.every || (track.mayBeEvery && !asked))) this.unresumed.set(track.topic, { last, asked });
    }
  }

  /** Queues the requests that restore the subscriptions; with `only`, just these. `stream` holds what a stream takes. */
  private restore(
    only: ReadonlySet<string> | undefined,
    stream?: { anew: ReadonlySet<string>; takesPositions: boolean },
  ): void {
    const left = new Map<string, Position>();
    if (!stream) {
      for (const track of this.checker.leftOff()) {
        const position = track.position();
        if (position) left.set(track.topic, wrong(position));
      }
    }
    const start = (topic: string): Start => {
      const track = this.checker.known(topic);
      if (track?.live) return "flows";
      const isAnew = stream && (!stream.takesPositions || stream.anew.has(topic));
      const position = track?.leftOff && !isAnew ? track.position() : undefined;
      return position ? wrong(position) : "anew";
    };
    for (const step of this.ledger.restore(only, left, start, this.limits.message_bytes)) {
      if ("since" in step) {
        this.sendPositions(step.since, true);
        continue;
      }
      for (const entry of step.topics) {
        // The ack of a topic with a position tells whether it was resumed.
        if (typeof entry !== "string" && !Array.isArray(entry.since)) this.unresumed.delete(entry.topic);
      }
      this.queue(this.subscribeRequest(step.wanted, step.topics), { restores: true });
    }
  }

  private sendPositions(since: Lineage[], restores: boolean): void {
    this.queue({ op: "positions", id: this.nextId(), since }, { restores });
  }

  /** Handles a message. */
  received(message: ServerMessage, at: Moment): void {
    try {
      this.checker.received(message);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      const { promise, topic, known } = error;
      const { data: _, results: __, ...shown } = message as Record<string, unknown>;
      this.events.push({
        type: "broken",
        topic,
        error: new BrokenPromiseError(promise, topic, { ...known, ...shown }),
      });
    }
    if (this.unresumed.size > 0) this.reportUnresumed(message);
    this.tell(message);
    if ((message.op === "ack" || message.op === "pong" || message.op === "error") && message.id !== undefined) {
      const waiting = this.unanswered.get(message.id);
      if (waiting) {
        this.unanswered.delete(message.id);
        this.answered(waiting, message, at);
      }
    } else if (message.op === "synced") {
      const syncing = this.syncing.get(message.id);
      if (syncing) {
        this.syncing.delete(message.id);
        this.events.push({ type: "synced", topics: syncing.topics });
        syncing.reply?.synced?.();
      }
    }
  }

  /** Reports a message to the program, if it is one for it. */
  private tell(message: ServerMessage): void {
    if (message.op === "update" || message.op === "snapshot") {
      // Nearly all messages are of these: no copy is made of them.
      const { topic, seq, ts, data } = message;
      const snapshot = message.op === "snapshot";
      const epoch = message.op === "snapshot" ? message.epoch : this.checker.known(topic)?.epoch;
      this.events.push({ type: "message", topic, epoch, seq, ts, data, snapshot });
      return;
    }
    const { op: _, ...rest } = message;
    switch (message.op) {
      case "gap":
      case "joined":
      case "end":
        if (!(GAP_SWALLOWED && message.op === "gap")) this.events.push({ ...rest, type: message.op } as ClientEvent);
        break;
      case "status": {
        const { state, ...about } = rest as typeof message;
        const isKnown = state === "live" || state === "stale" || (state === "caught_up" && about.seq !== undefined);
        if (isKnown) this.events.push({ ...about, type: state } as ClientEvent);
        else this.events.push({ ...about, state, type: "status" });
        break;
      }
      case "drain":
        this.events.push({ type: "draining", reconnectAfterMs: message.reconnect_after_ms });
        break;
      case "error":
        if (message.id === undefined) this.events.push({ type: "error", code: message.code, reason: message.reason });
        break;
    }
  }

  /** Handles the answer to a request that did not go over the connection. `undefined`: there was none. */
  settle(id: number, message: ServerMessage | undefined, at: Moment): void {
    const waiting = this.unanswered.get(id);
    this.unanswered.delete(id);
    if (!waiting) return;
    if (message?.op === "ack" || message?.op === "error") this.answered(waiting, message, at);
    else waiting.reply?.reject(new UnansweredError(`no answer came; ${UNKNOWN}`));
  }

  private answered(waiting: Waiting, message: ServerMessage & { op: "ack" | "pong" | "error" }, at: Moment): void {
    const { request, reply, restores, wanted, sent } = waiting;
    const results = message.op === "ack" ? message.results : [];
    const refusal = message.op === "error" ? message : undefined;
    const found = refusal ?? results.find((result) => result.error)?.error;
    if (request.op === "subscribe") {
      if (!wanted || !reply) {
        this.restored(request, results, refusal);
      } else if (refusal) {
        fail(reply, new RefusedError(refusal));
      } else {
        for (const { topic, error, replay } of results) {
          // A replay implies every message, whatever the topic's kind is.
          if (!error) this.ledger.add(topic, replay ? { ...wanted, mode: "every" } : wanted);
        }
        this.awaitSynced(request.id, results, reply);
        this.events.push({ type: "granted", results });
        reply.resolve(results);
      }
    } else if (request.op === "positions") {
      if (found) this.positionsRefused(request.since);
    } else if (request.op === "unsubscribe" && !refusal) {
      // It has one result for each name. Other requests fail with their single result.
      this.forget(request.topics);
      reply?.resolve(results);
    } else if (found) {
      reply?.reject(new RefusedError(found));
    } else {
      if (request.op === "auth" && !restores) this.token = request.token;
      const isPong = message.op === "pong" && sent;
      reply?.resolve(isPong ? clocks(sent, message.received ?? message.ts, message.ts, at) : results);
    }
  }

  /** Waits for the `synced` of request `id`, if any topic was granted. */
  private awaitSynced(id: number, results: readonly Result[], reply?: Reply): void {
    const topics = results.filter((result) => !result.error).map((result) => result.topic);
    if (topics.length > 0) this.syncing.set(id, { topics, reply });
    else reply?.synced?.();
    const oldest = this.syncing.keys().next().value;
    if (this.syncing.size <= PENDING_MAX || oldest === undefined) return;
    this.syncing.get(oldest)?.reply?.synced?.(new UnansweredError("too many requests wait"));
    this.syncing.delete(oldest);
  }

  private restored(request: Request & { op: "subscribe" }, results: readonly Result[], refusal?: Refusal): void {
    this.awaitSynced(request.id, results);
    const refused: [string, Refusal][] = [];
    request.topics.forEach((entry, index) => {
      const { topic, epoch, seq, recovered, resumed, not_resumed, error } = results[index] ?? { topic: nameOf(entry) };
      if (refusal ?? error) {
        refused.push([topic, (refusal ?? error) as Refusal]);
      } else if (results[index]) {
        if (epoch !== undefined && seq !== undefined) this.goesOn(topic, epoch, seq, false);
        this.events.push({
          type: "recovered",
          topic,
          resumed: resumed ?? Number(recovered === true),
          notResumed: not_resumed ?? Number(recovered === false),
        });
      }
    });
    for (const [topic, refusal] of refused) {
      if (!this.ledger.wants(topic)) continue; // it was unsubscribed meanwhile
      if (isRetryable(refusal)) {
        this.unrestored.add(topic);
      } else {
        this.ledger.remove(topic);
        this.events.push({ type: "refused", topic, error: new RefusedError(refusal, topic) });
      }
    }
  }

  /** The broker did not take positions: their topics begin anew. */
  private positionsRefused(since: readonly Lineage[]): void {
    for (const { epoch, seqs } of since) {
      for (const [topic, seq] of Object.entries(seqs)) {
        if (this.checker.known(topic)?.isConflated === false)
          this.unresumed.set(topic, { last: { epoch, seq }, asked: false });
      }
    }
  }

  /** Reports a topic if `message` shows that it does not go on where it was left. */
  private reportUnresumed(message: ServerMessage): void {
    if (!("topic" in message)) return;
    const left = this.unresumed.get(message.topic);
    if (!left) return;
    switch (message.op) {
      case "snapshot":
        this.goesOn(message.topic, message.epoch, message.seq, true);
        break;
      case "update":
        // It belongs to the lineage where the topic was left, if the broker was told that position.
        this.goesOn(message.topic, left.asked ? left.last.epoch : undefined, message.seq, true);
        break;
      case "joined":
        // If the broker was told, the topic was deleted and made again: nothing is missing before its beginning.
        if (left.asked) this.unresumed.delete(message.topic);
        else this.goesOn(message.topic, message.epoch, message.seq, false);
        break;
      case "gap":
        if (left.asked) this.unresumed.delete(message.topic);
        else this.goesOn(message.topic, message.epoch, message.from, true);
        break;
      case "end":
        this.unresumed.delete(message.topic);
    }
  }

  /** `topic` goes on at `now`. `isNext`: nothing is missing if `now` is the number after the last position. */
  private goesOn(topic: string, epoch: string | undefined, now: Seq, isNext: boolean): void {
    const left = this.unresumed.get(topic);
    if (!left) return;
    this.unresumed.delete(topic);
    const { last } = left;
    if (epoch === last.epoch && now <= (isNext ? next(last.seq) : last.seq)) return;
    this.events.push({ type: "unresumed", topic, last, now });
  }
}

function fail(reply: Reply | undefined, error: Error): void {
  reply?.reject(error);
  reply?.synced?.(error);
}

/** Whether nobody waits any longer for an answer to `waiting`. */
function isGivenUp({ reply }: Waiting, now: number): boolean {
  return reply !== undefined && reply.deadline <= now;
}

/** The position, or the one before if that fault is planted. */
function wrong(position: Position): Position {
  if (!RESUME_FROM_WRONG_SEQ || position.seq === 0) return position;
  return { epoch: position.epoch, seq: before(position.seq) };
}

/** The reading of the four times, as NTP computes it (RFC 5905, section 8). */
function clocks(sent: Moment, received: number, answered: number, heard: Moment): Clocks {
  const elapsed = Math.max(0, (heard.now - sent.now) * 1_000);
  const back = sent.wallUs + elapsed;
  return {
    broker: answered,
    offsetUs: Math.round((received - sent.wallUs + (answered - back)) / 2),
    roundTripUs: Math.max(0, Math.round(elapsed - Math.max(0, answered - received))),
  };
}

/** The entry of `subscribe` of the name `name`, with its positions in `since`. Without one it begins with `from`, at `speed`. */
export function entryOf(
  name: string,
  since: Readonly<Record<string, Position>>,
  { from, speed }: { from: number | string | undefined; speed: number | undefined },
  isPattern: boolean,
): TopicRequest {
  const lineages = isPattern ? byLineage(Object.entries(since)) : [];
  if (lineages.length > 0) return { topic: name, since: lineages };
  if (!isPattern && Object.hasOwn(since, name)) return { topic: name, since: since[name] as Position };
  if (from === undefined) return name;
  return speed === undefined ? { topic: name, from } : { topic: name, from, speed };
}
