/**
 * Checks what the protocol lets a client rely on, message by message.
 *
 * Pure: no socket, no clock. A checker is given every request in the order of sending and every message in the order of
 * receiving. It throws a {@link Fault} where the broker broke a promise, and then goes on from what the broker
 * claimed.
 *
 * Some faults cannot be seen: whether the newest message arrived in `conflate` shows only when publishing has stopped, and
 * which topics of a pattern over several kinds are in mode `every` is not told.
 */

import type { Book, BookFault } from "./book.js";
import type { Books } from "./books.js";
import { Fault } from "./errors.js";
import { booksPart } from "./parts.js";
import type { Seq } from "./seq.js";
import { isPattern, matches } from "./topic.js";
import { Track, type Wildcard } from "./track.js";
import type { Lineage, Mode, Position, Request, Result, ServerMessage, TopicRequest } from "./types.js";

/** A request that waits for its answer. `sent` is its number among all requests. */
interface Asked {
  request: Request;
  sent: number;
}

/** A pattern that was to resume topics. */
interface Resuming {
  pattern: string;
  topics: string[];
  resumed: number;
  notResumed: number;
}

export const nameOf = (request: TopicRequest): string => (typeof request === "string" ? request : request.topic);

function positionOf(request: TopicRequest): Position | undefined {
  return typeof request === "string" || Array.isArray(request.since) ? undefined : request.since;
}

function eachOf(lineages: readonly Lineage[]): Map<string, Position> {
  const each = new Map<string, Position>();
  for (const { epoch, seqs } of lineages) {
    for (const [topic, seq] of Object.entries(seqs)) each.set(topic, { epoch, seq });
  }
  return each;
}

export class Checker {
  private tracks = new Map<string, Track>();
  private wildcards: Wildcard[] = [];
  /** Patterns in mode `snapshot`: one snapshot of each matching topic may come. */
  private oneShots: string[] = [];
  private asked = new Map<number, Asked>();
  /** Positions that were sent ahead, in order. They wait for the answer to a `subscribe` that takes them. */
  private ahead: { id: number; sent: number; since: readonly Lineage[] }[] = [];
  private sentCount = 0;
  /** Requests that were acked and whose `synced` has not come. */
  private syncing = new Map<number, { topics: string[]; resuming: Resuming[] }>();
  private welcomed = false;
  private wildcardAcks = 0;
  /** Patterns that brought snapshots on this connection and have ended. */
  private ended: string[] = [];
  private books: Books | undefined;

  /** `verifyBooks`: the pattern of the topics whose books are rebuilt and verified; books of {@link watchBook} are too. */
  constructor(verifyBooks?: string) {
    if (verifyBooks !== undefined) this.books = new (booksPart().Books)(verifyBooks);
  }

  /** Rebuilds the book of `topic` from now on. */
  watchBook(topic: string): Book {
    this.books ??= new (booksPart().Books)(undefined);
    return this.books.watch(topic);
  }

  /** The book of `topic`, if it is rebuilt. */
  bookOf(topic: string): Book | undefined {
    return this.books?.of(topic);
  }

  /** Begins a new connection in place of the previous one. Positions stay known. */
  reconnected(): void {
    this.welcomed = false;
    this.wildcards = [];
    this.oneShots = [];
    this.ended = [];
    this.asked.clear();
    this.ahead = [];
    this.syncing.clear();
    for (const track of this.tracks.values()) track.reconnected();
  }

  /** What is known of `topic`. */
  known(topic: string): Track | undefined {
    return this.tracks.get(topic);
  }

  private isLive(topic: string): boolean {
    return this.known(topic)?.live ?? false;
  }

  /** The topics to resume: those that were live on the previous connection and are not live again. */
  leftOff(): Track[] {
    return [...this.tracks.values()].filter((track) => track.leftOff);
  }

  /** Takes note of `request`, which is about to be sent. */
  sent(request: Request): void {
    this.sentCount += 1;
    if (request.op === "positions") this.ahead.push({ id: request.id, sent: this.sentCount, since: request.since });
    this.asked.set(request.id, { request, sent: this.sentCount });
  }

  /** Checks `message`, which was received. */
  received(message: ServerMessage): void {
    if (!this.welcomed || message.op === "welcome") {
      const isDue = !this.welcomed && message.op === "welcome";
      this.welcomed = true;
      if (isDue) return;
      throw new Fault("welcome");
    }
    switch (message.op) {
      case "update":
        this.live(message.topic).update(message.seq);
        this.report(message.topic, this.books?.update(message.topic, message.seq, message.data));
        break;
      case "snapshot":
        this.snapshot(message.topic, message.epoch, message.seq);
        this.report(message.topic, this.books?.snapshot(message.topic, message.epoch, message.seq, message.data));
        break;
      case "gap":
        this.books?.awaitsSnapshot(message.topic);
        this.live(message.topic).gap(message.epoch, message.from, message.to, message.reason);
        break;
      case "joined":
        this.books?.joined(message.topic, message.epoch, message.seq);
        this.live(message.topic).joined(message.epoch, message.seq);
        break;
      case "end":
        this.live(message.topic).ended();
        this.books?.ended(message.topic);
        break;
      case "status":
        if (message.seq !== undefined) this.live(message.topic).caughtUp(message.seq);
        else if (!this.isLive(message.topic) && !this.isCovered(message.topic)) throw this.notCovered(message.topic);
        break;
      case "ack":
        this.ack(message.id, message.results);
        break;
      case "synced":
        this.synced(message.id);
        break;
      case "pong":
      case "error":
        if (message.id === undefined) break;
        this.answered(message.id);
        if (message.op === "pong" && (message.received ?? 0) > message.ts) throw new Fault("pong_times");
        // Positions that the broker refused do not apply.
        this.ahead = this.ahead.filter(({ id }) => id !== message.id);
    }
  }

  /** The track of a topic of which a message came. */
  private live(topic: string): Track {
    const track = this.tracks.get(topic);
    return track?.live ? track : this.admit(topic);
  }

  private snapshot(topic: string, epoch: string, seq: Seq): void {
    if (!this.isLive(topic)) {
      if (this.takeOneShot(topic)) return;
      this.admit(topic);
    }
    const track = this.tracks.get(topic) as Track;
    const seen = track.wildcardAcksSeen;
    track.wildcardAcksSeen = this.wildcardAcks;
    const isOneShot = track.oneShots > 0;
    if (isOneShot) track.oneShots -= 1;
    const solicited =
      isOneShot ||
      this.oneShots.some((pattern) => matches(pattern, topic)) ||
      (seen < this.wildcardAcks && this.wildcards.some((w) => w.snapshotsSince > seen && matches(w.pattern, topic)));
    track.snapshot(epoch, seq, solicited);
  }

  private answered(id: number): Asked {
    const asked = this.asked.get(id);
    if (!asked) throw new Fault("unknown_answer");
    this.asked.delete(id);
    return asked;
  }

  private ack(id: number, results: readonly Result[]): void {
    const { request, sent } = this.answered(id);
    switch (request.op) {
      case "subscribe":
        this.subscribeAcked(request, sent, results);
        break;
      case "unsubscribe":
        sameTopics(request.topics, results);
        for (const result of results) if (!result.error) this.unsubscribed(result.topic);
        break;
      case "resync":
        this.resyncAcked(request.topic, results);
        break;
    }
  }

  private subscribeAcked(request: Request & { op: "subscribe" }, sent: number, results: readonly Result[]): void {
    const { id, topics, mode, snapshot = true } = request;
    const isBefore = (ahead: { sent: number }): boolean => ahead.sent < sent;
    const given = eachOf(this.ahead.filter(isBefore).flatMap(({ since }) => since));
    this.ahead = this.ahead.filter((ahead) => !isBefore(ahead));
    sameTopics(topics.map(nameOf), results);
    const resuming: Resuming[] = [];
    let fault: unknown;
    topics.forEach((topic, index) => {
      const result = results[index] as Result;
      if (result.error) return;
      const wasLive = this.isLive(result.topic);
      const covered = this.isCovered(result.topic);
      try {
        this.subscribed(topic, result, { id, mode, snapshot });
      } catch (error) {
        fault ??= error;
      }
      const found = this.resumePattern(id, topic, result, given);
      if (found) resuming.push(found);
      if (wasLive || (result.mode ?? mode) === "snapshot") this.bookAcked(result);
      // A pattern that covers the topic may have brought the snapshot already.
      else this.books?.subscribed(result, positionOf(topic), snapshot && !covered);
    });
    this.syncing.set(id, { topics: topics.map(nameOf), resuming });
    if (fault) throw fault;
  }

  private resyncAcked(topic: string, results: readonly Result[]): void {
    if (results.some((result) => result.error)) return;
    const wasLive = this.isLive(topic);
    // If it was not, a pattern covers the topic, and nothing of it has come yet.
    const track = this.live(topic);
    if (results[0]) track.standsAt(results[0]);
    track.resync();
    for (const result of results) {
      if (wasLive) this.bookAcked(result);
      else this.books?.subscribed(result, undefined, false);
    }
  }

  private subscribed(
    request: TopicRequest,
    result: Result,
    asked: { id: number; mode: Mode | undefined; snapshot: boolean },
  ): void {
    const mode = result.mode ?? asked.mode;
    const topic = nameOf(request);
    if (isPattern(topic)) {
      this.wildcardSubscribed(topic, mode, asked.snapshot);
      return;
    }
    const covered = this.isCovered(topic);
    const mayCome =
      this.wildcards.some((w) => w.snapshotsSince > 0 && matches(w.pattern, topic)) ||
      this.ended.some((pattern) => matches(pattern, topic));
    // Nothing of the topic has come yet. A snapshot that a pattern asked for, even one that has ended, may still be on
    // its way.
    if (mayCome && covered && !this.isLive(topic)) this.admit(topic).resync();
    if (mode === "snapshot" && covered && !this.isLive(topic)) this.admit(topic);
    const track = this.track(topic);
    if (mode === "snapshot") {
      if (track.live) track.standsAt(result);
      // A topic without a message has no snapshot, unless it is live: then the ack tells this connection's place in it.
      if (track.live || result.seq !== 0) track.oneShots += 1;
      return;
    }
    track.own = true;
    track.ownMode = mode;
    track.cover(this.wildcards);
    // A broker that does not know `from` takes no note of it.
    track.acked(asked.id, result, positionOf(request), asked.snapshot && !result.replay);
    if (result.replay) track.replayedTo = result.replay.to_seq;
  }

  private wildcardSubscribed(pattern: string, mode: Mode | undefined, snapshot: boolean): void {
    if (mode === "snapshot") {
      if (!this.oneShots.includes(pattern)) this.oneShots.push(pattern);
      return;
    }
    if (snapshot) this.wildcardAcks += 1;
    // The snapshots that the first subscription asked for may still be on their way.
    const before = this.wildcards.find((w) => w.pattern === pattern);
    const snapshotsSince = snapshot ? this.wildcardAcks : (before?.snapshotsSince ?? 0);
    this.wildcards = this.wildcards.filter((w) => w.pattern !== pattern);
    this.wildcards.push({ pattern, mode, snapshotsSince });
    for (const [topic, track] of this.tracks) {
      if (track.live) track.cover(this.wildcards);
      // It begins anew now, unless the request has a position for it.
      else if (track.leftOff && matches(pattern, topic)) track.leftOff = false;
    }
  }

  private unsubscribed(pattern: string): void {
    const own = this.tracks.get(pattern);
    if (own) {
      own.own = false;
      own.live = this.isCovered(pattern);
      own.cover(this.wildcards);
      return;
    }
    const gone = this.wildcards.find((w) => w.pattern === pattern);
    this.wildcards = this.wildcards.filter((w) => w !== gone);
    for (const [topic, track] of this.tracks) {
      if (!track.live) continue;
      track.live = track.own || this.isCovered(topic);
      track.cover(this.wildcards);
      // The snapshot that the pattern asked for may still be on its way.
      if (gone && gone.snapshotsSince > track.wildcardAcksSeen && matches(pattern, topic)) track.resync();
    }
    if (gone && gone.snapshotsSince > 0 && !this.ended.includes(pattern)) this.ended.push(pattern);
  }

  /** An ack came for a pattern. The topics whose positions it was given go on from there, or a message says that not. */
  private resumePattern(
    id: number,
    request: TopicRequest,
    result: Result,
    ahead: ReadonlyMap<string, Position>,
  ): Resuming | undefined {
    // A pattern that the connection has already, and one in mode `snapshot`, resume nothing: no counts.
    const { resumed, not_resumed: notResumed } = result;
    const pattern = nameOf(request);
    if (resumed === undefined || notResumed === undefined || !isPattern(pattern)) return undefined;
    if (!this.wildcards.some((w) => w.pattern === pattern)) return undefined;
    const given = new Map(ahead);
    if (typeof request !== "string" && Array.isArray(request.since)) {
      for (const [topic, since] of eachOf(request.since)) given.set(topic, since);
    }
    const topics: string[] = [];
    for (const [topic, since] of given) {
      // Another pattern may have brought the topic already.
      const isBrought = this.wildcards.some((w) => w.pattern !== pattern && matches(w.pattern, topic));
      if (!matches(pattern, topic) || isBrought || this.isLive(topic)) continue;
      const track = this.track(topic);
      track.resumedByPattern(id, since);
      // The snapshots that the pattern asks for are those of its other topics.
      track.wildcardAcksSeen = this.wildcardAcks;
      track.cover(this.wildcards);
      this.books?.goesOn(topic, since);
      topics.push(topic);
    }
    return topics.length > 0 ? { pattern, topics, resumed, notResumed } : undefined;
  }

  private synced(id: number): void {
    const syncing = this.syncing.get(id);
    if (!syncing) throw new Fault("unknown_synced");
    this.syncing.delete(id);
    const early = syncing.topics.find((topic) => this.tracks.get(topic)?.owes(id));
    if (early !== undefined) throw new Fault("synced_early", early);
    for (const { pattern, topics, resumed, notResumed } of syncing.resuming) {
      for (const was of [true, false]) {
        const shown = topics.filter((topic) => {
          const track = this.tracks.get(topic);
          return track?.resumedBy === id && track.wasResumed === was;
        }).length;
        const said = was ? resumed : notResumed;
        if (shown > said) throw new Fault("resume_count", pattern, { resumed: was, said, shown });
      }
    }
  }

  private track(topic: string): Track {
    let track = this.tracks.get(topic);
    if (!track) this.tracks.set(topic, (track = new Track(topic)));
    return track;
  }

  /** Whether a pattern with wildcards covers `topic`. */
  private isCovered(topic: string): boolean {
    return this.wildcards.some((w) => matches(w.pattern, topic));
  }

  /** Begins the track of a topic that a pattern now brings. */
  private admit(topic: string): Track {
    if (!this.isCovered(topic)) throw this.notCovered(topic);
    const track = this.track(topic);
    track.admitted();
    // The snapshot that a pattern asked for, which has ended, may still be on its way.
    if (this.ended.some((pattern) => matches(pattern, topic))) track.resync();
    track.cover(this.wildcards);
    return track;
  }

  /** The fault when a message of `topic` came without a subscription. */
  private notCovered(topic: string): Fault {
    for (const { request } of this.asked.values()) {
      if (request.op === "subscribe" && request.topics.some((entry) => matches(nameOf(entry), topic))) {
        return new Fault("before_ack", topic);
      }
    }
    return new Fault(this.tracks.has(topic) ? "after_unsubscribe" : "never_subscribed", topic);
  }

  /** Whether a one-shot of `topic`, which is not subscribed otherwise, was asked for. Uses it up. */
  private takeOneShot(topic: string): boolean {
    if (this.isCovered(topic)) return false; // whichever request it answers, it tells the topic's position
    const track = this.tracks.get(topic);
    if (track && track.oneShots > 0) {
      track.oneShots -= 1;
      return true;
    }
    return this.oneShots.some((pattern) => matches(pattern, topic));
  }

  /** An ack came for a topic that is live already, or for a one-shot of it. */
  private bookAcked(result: Result): void {
    if (this.isLive(result.topic)) this.books?.acked(result);
  }

  /** Tells of a book that does not fit. */
  private report(topic: string, known: BookFault | undefined): void {
    if (known) throw new Fault("book", topic, known);
  }
}

/** Checks that `results` has one result per topic of the request, in order. */
function sameTopics(topics: readonly string[], results: readonly Result[]): void {
  const count = Math.max(topics.length, results.length);
  for (let index = 0; index < count; index += 1) {
    const expected = topics[index];
    if (expected !== results[index]?.topic) throw new Fault("ack_mismatch", undefined, { index, expected });
  }
}
