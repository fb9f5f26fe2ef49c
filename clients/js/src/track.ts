/**
 * What a client knows of one topic, and what may come next.
 *
 * A track takes the position that a message claims even if the message breaks a promise, so that a fault is told once. The
 * exception is a number that goes backward: the highest one stays.
 */

import { Fault, type Known, type PromiseName } from "./errors.js";
import { highest, next, type Seq } from "./seq.js";
import { matches } from "./topic.js";
import type { GapReason, Mode, Position, Result } from "./types.js";

/** How sure the position in a topic is. */
type Standing =
  /** Nothing is known: the first message sets the position. */
  | "unknown"
  /** The position is known: it counts on from there. */
  | "at"
  /** The ack said `recovered: true`, and nothing has come yet. */
  | "resumed"
  /** The ack said `recovered: false`: a snapshot or a gap must come first. */
  | "unresumed"
  /** A pattern was to resume the topic. What comes first shows whether it did. */
  | "either";

/** Whether a snapshot may come that is not the next message. */
type Awaiting =
  | "nothing"
  /** Before any update, or not at all: after a first ack or a gap. */
  | "first"
  /** Of the message that has just come. An event topic's snapshot can be put off while its history goes on. */
  | "repeat"
  /** At any time, after a `resync` or a further subscription. */
  | "anytime";

/** A subscription with a wildcard. */
export interface Wildcard {
  pattern: string;
  mode: Mode | undefined;
  /** The number of its ack among all wildcard acks that brought snapshots; 0 if this one brought none. */
  snapshotsSince: number;
}

export class Track {
  epoch: string | undefined;
  /** The last message that came or that a gap named. */
  seq: Seq = 0;
  /** A second position to count from: that of an ack which overtook updates. */
  private alternative: Seq | undefined;
  /** The topic's last number when a resume failed. */
  private head: Seq = 0;
  /** The number up to which a resume promised all messages, or the newest. */
  promised: Seq = 0;
  /** The request that began the subscription: its `synced` says that everything it begins with has come. */
  private begunBy: number | undefined;
  /** The last message of the replay from a moment, until the broker says that the client has caught up. */
  replayedTo: Seq | undefined;
  /** The request whose pattern was to resume the topic. */
  resumedBy: number | undefined;
  /** Whether the pattern resumed it; `undefined` until that shows. */
  wasResumed: boolean | undefined;
  /** Whether only snapshots have come since the subscription began. */
  private quiet = false;
  /** Whether the topic was live on the previous connection and is not live again yet. */
  leftOff = false;
  /** The number of wildcard acks when the last snapshot came. */
  wildcardAcksSeen = 0;
  standing: Standing = "unknown";
  private awaiting: Awaiting = "nothing";
  /** Whether a subscription covers the topic. */
  live = false;
  /** Whether every message must come, by all subscriptions that cover the topic. */
  every = false;
  /** Whether that depends on the topic's kind, which the broker has not told. */
  mayBeEvery = false;
  /** Whether the topic is subscribed by its own name, and in which mode. */
  own = false;
  ownMode: Mode | undefined;
  /** How many one-shots are still to come. */
  oneShots = 0;
  /** Whether the topic has ended, and no `joined` told that it was made again. */
  private isEnded = false;

  constructor(readonly topic: string) {}

  /** Whether messages may be replaced by newer ones, by all that is known. */
  get isConflated(): boolean {
    return !this.every && !this.mayBeEvery;
  }

  /** The position to resume from; `undefined` if the topic must be subscribed anew. */
  position(): Position | undefined {
    // A snapshot is due, and its content is not known. Counting on from here would miss it.
    if (this.standing === "at" && this.awaiting === "first" && this.seq !== 0) return undefined;
    return this.last();
  }

  /** The last message that came or that a gap named, whether or not the topic can be resumed from it. */
  last(): Position | undefined {
    if (this.standing === "unknown" || this.epoch === undefined) return undefined;
    return { epoch: this.epoch, seq: this.seq };
  }

  /** A new connection begins: nothing is subscribed. */
  reconnected(): void {
    this.leftOff ||= this.live;
    this.live = false;
    this.own = false;
    this.oneShots = 0;
    this.begunBy = undefined;
  }

  /** A pattern began to cover the topic: the first message sets the position. */
  admitted(): void {
    this.begins();
    this.standing = "unknown";
    this.awaiting = "nothing";
    this.alternative = undefined;
    this.epoch = undefined;
  }

  /** A pattern of request `id` is to resume the topic after `since`. */
  resumedByPattern(id: number, since: Position): void {
    this.begins();
    this.resumedBy = id;
    this.standing = "either";
    this.awaiting = "nothing";
    this.alternative = undefined;
    this.epoch = since.epoch;
    this.seq = since.seq;
    this.wasResumed = undefined;
  }

  private begins(): void {
    this.live = true;
    this.leftOff = false;
    this.quiet = true;
    this.begunBy = undefined;
    this.resumedBy = undefined;
    this.promised = 0;
    this.replayedTo = undefined;
    this.isEnded = false;
  }

  /** Sets which messages the topic needs by its own subscription and by the patterns that match it. */
  cover(wildcards: readonly Wildcard[]): void {
    const covering = wildcards.filter((w) => matches(w.pattern, this.topic));
    const every = (this.own && this.ownMode === "every") || covering.some((w) => w.mode === "every");
    if (every !== this.every) this.promised = 0; // what comes of it becomes another thing
    this.every = every;
    // A pattern without a mode may match several kinds: the mode then depends on the topic's kind.
    this.mayBeEvery = !this.own && covering.some((w) => w.mode === undefined);
  }

  /** A `joined` tells the topic's lineage and where its subscription begins. */
  joined(epoch: string, seq: Seq): void {
    const sameLineage = this.epoch === epoch;
    const isFirst = this.quiet;
    this.quiet = false;
    this.isEnded = false;
    if (sameLineage && !isFirst) throw this.broken("joined_again");
    this.epoch = epoch;
    this.seq = seq;
    // The topic did not exist when its position was sent. It counts as one of the pattern's other topics: a snapshot
    // may come.
    if (this.standing === "either") this.wildcardAcksSeen = 0;
    this.standing = "at";
    this.alternative = undefined;
  }

  /** The topic has ended. Should it be made again, a `joined` tells its lineage. */
  ended(): void {
    this.goesOn();
    this.epoch = undefined;
    this.seq = 0;
    this.standing = "unknown";
    this.awaiting = "nothing";
    this.alternative = undefined;
    this.promised = 0;
    this.replayedTo = undefined;
    // An ack may tell the next lineage before its `joined`.
    this.quiet = true;
    this.isEnded = true;
  }

  /** Checks that the topic has not ended: nothing comes of it until a `joined`. The fault is told once. */
  private goesOn(): void {
    if (!this.isEnded) return;
    this.isEnded = false;
    throw this.broken("after_end");
  }

  /** The client has caught up: it has everything up to `seq`. */
  caughtUp(seq: Seq): void {
    const last = this.replayedTo;
    this.replayedTo = undefined;
    if (last === undefined || seq < last || seq !== this.seq) throw this.broken("caught_up", { last: this.seq });
  }

  /** A snapshot was asked for. */
  resync(): void {
    this.awaiting = "anytime";
  }

  /** The ack of the topic's own subscription. */
  acked(id: number, result: Result, since: Position | undefined, snapshot: boolean): void {
    const wasLive = this.live;
    if (!wasLive) this.begins();
    this.isEnded = false;
    const broughtBy = this.begunBy;
    this.begunBy = id;
    if (since && result.recovered) {
      this.resumed(since, result);
    } else if (since) {
      this.notResumed(since, result, snapshot);
    } else {
      // The earlier request still owes what the subscription begins with.
      if (this.begin(wasLive, result, snapshot)) this.begunBy = broughtBy;
      if (result.recovered) throw this.broken("false_recovery", { fault: "unasked" });
    }
  }

  /** Begins a subscription without a position to resume from. Returns whether the topic goes on as before. */
  private begin(wasLive: boolean, result: Result, snapshot: boolean): boolean {
    const sameLineage = this.epoch === result.epoch;
    const counting =
      this.standing === "unknown"
        ? false
        : this.standing === "either"
          ? // A pattern was to resume the topic and did not. That is yet to be told if the topic had a message.
            (sameLineage && this.seq === 0) || (result.seq ?? 0) > 0
          : sameLineage;
    if (wasLive && counting) {
      // Updates up to the ack's number may still be on their way.
      this.alternative = result.seq;
      if (!sameLineage) {
        // The topic was not resumed. What it missed is yet to be told, unless it had no position and wanted no snapshot.
        this.epoch = result.epoch;
        this.seq = 0;
        this.standing = "at";
        this.awaiting = "first";
      }
      if (snapshot) this.awaiting = "anytime";
      return true;
    }
    this.epoch = result.epoch;
    this.alternative = undefined;
    // A snapshot that was asked for before is still on its way.
    this.awaiting = snapshot ? "first" : wasLive && this.awaiting !== "nothing" ? "anytime" : "nothing";
    this.standing = result.seq === undefined ? "unknown" : "at";
    this.seq = result.seq ?? 0;
    return false;
  }

  /** An ack tells the position of a topic without earlier messages. */
  standsAt(result: Result): void {
    const { epoch, seq } = result;
    if (epoch === undefined || seq === undefined) return;
    if (this.standing === "unknown" || (this.standing === "either" && seq === 0)) {
      this.epoch = epoch;
      this.seq = seq;
      this.standing = "at";
      this.alternative = undefined;
    }
  }

  private resumed(since: Position, result: Result): void {
    this.epoch = since.epoch;
    this.seq = since.seq;
    this.promised = result.seq ?? since.seq;
    this.alternative = undefined;
    this.standing = "resumed";
    this.awaiting = "nothing";
    if (result.epoch !== undefined && result.epoch !== since.epoch) {
      this.epoch = result.epoch;
      this.standing = "unknown";
      throw this.broken("false_recovery", { fault: "epoch", since });
    }
    if (result.seq !== undefined && result.seq < since.seq) {
      this.seq = result.seq;
      throw this.broken("false_recovery", { fault: "ahead", since });
    }
  }

  private notResumed(since: Position, result: Result, snapshot: boolean): void {
    const head = result.seq ?? since.seq;
    const sameLineage = result.epoch === since.epoch;
    this.epoch = result.epoch;
    this.alternative = undefined;
    this.head = head;
    this.seq = sameLineage ? since.seq : 0;
    // A refused resume may bring a snapshot even if the request wanted none.
    this.awaiting = "first";
    if (sameLineage && since.seq > head) {
      this.standing = "unknown"; // the position was never one of this lineage, so what is missing is unknown
    } else if (snapshot) {
      this.standing = "unresumed";
    } else {
      this.alternative = head;
      this.standing = "at";
    }
  }

  /** Whether request `id` still owes something of the topic. */
  owes(id: number): boolean {
    if (!this.live || this.begunBy !== id) return false;
    if (this.replayedTo !== undefined) return true;
    switch (this.standing) {
      case "unresumed":
        return this.head !== 0;
      case "at":
        // The snapshot or messages of a replay are still due.
        return this.quiet && this.awaiting === "first" ? this.seq !== 0 : this.promised > this.seq;
      case "resumed":
        return this.promised > this.seq;
      default:
        return false;
    }
  }

  update(seq: Seq): void {
    this.quiet = false;
    const isNext = next(this.seq) === seq;
    if (isNext && this.standing === "at" && this.alternative === undefined) {
      this.seq = seq;
      if (this.awaiting === "first") this.awaiting = "repeat";
      return;
    }
    this.unusualUpdate(seq, isNext);
  }

  private unusualUpdate(seq: Seq, isNext: boolean): void {
    const last = this.seq;
    const standing = this.standing;
    this.standing = "at";
    if (standing === "unknown" && this.epoch === undefined) {
      this.seq = seq;
      this.goesOn();
      throw this.broken("unknown_lineage");
    }
    if (standing !== "unknown" && seq <= last) {
      this.standing = standing;
      throw this.backward(last, seq);
    }
    this.seq = seq;
    if (this.awaiting === "first") this.awaiting = "repeat";
    const continuesAck = this.alternative !== undefined && next(this.alternative) === seq;
    if (this.alternative !== undefined && seq >= this.alternative) this.alternative = undefined;
    if (standing === "either") this.wasResumed = true;
    if (standing === "unknown") return;
    // If the topic had no message at the ack, there is neither a snapshot nor a gap to send.
    if (standing === "unresumed" && this.head !== 0) throw this.broken("no_position");
    if (isNext || continuesAck || !this.every) return;
    throw this.hole(standing, last);
  }

  /** A `snapshot`. `solicited` says that a request not known here asked for it. */
  snapshot(epoch: string, seq: Seq, solicited: boolean): void {
    const awaited =
      solicited ||
      this.awaiting === "first" ||
      this.awaiting === "anytime" ||
      (this.awaiting === "repeat" && seq === this.seq);
    const standing = this.standing;
    this.standing = "at";
    this.awaiting = "nothing";
    this.alternative = undefined;
    const last = this.seq;
    const sameLineage = this.epoch === undefined || this.epoch === epoch;
    this.epoch = epoch;
    if (standing === "either") {
      // A resumed topic would have got the missed messages first. The snapshot's number may be below the position to
      // resume from if that was of another lineage or had not been reached.
      this.wasResumed = awaited ? undefined : false;
      this.seq = seq;
      return;
    }
    if (!sameLineage || standing === "unknown") {
      this.seq = seq;
      this.goesOn();
      return;
    }
    this.seq = highest(last, seq);
    if (seq < last) throw this.backward(last, seq);
    if (awaited) return;
    if (standing === "resumed" && this.every) throw this.broken("false_recovery", { fault: "snapshot", last });
    if (seq === last) throw this.backward(last, seq);
    if (this.every && seq > next(last)) throw this.hole(standing, last);
  }

  /** A `gap`: the messages `from` to `to` will not come. */
  gap(epoch: string, from: Seq, to: Seq, reason: GapReason): void {
    const known = this.epoch;
    this.epoch = epoch;
    const changed = known !== undefined && known !== epoch;
    const last = this.seq;
    const alternative = this.alternative;
    this.alternative = undefined;
    const standing = this.standing;
    this.standing = "at";
    this.awaiting = "first";
    this.quiet = false;
    // A pattern was to resume the topic from a position of another lineage, or one that this lineage has not reached,
    // or the topic did not exist.
    const isAnew = standing === "either" && (reason === "epoch" || (reason === "slow" && (changed || from === 1)));
    if (standing === "either" && !(isAnew && reason === "slow")) this.wasResumed = reason === "slow";
    const counts = !changed && standing !== "unknown" && !isAnew;
    this.seq = counts ? highest(last, to) : to;
    this.goesOn();
    if (isAnew) return;
    if (changed) {
      if (reason === "epoch") return;
      throw this.broken("silent_epoch", { known });
    }
    if (standing === "unresumed" && to < this.head) throw this.broken("partial_replay", { head: this.head });
    // The numbers before the gap are those of another lineage.
    if (standing === "unresumed" && reason === "epoch") return;
    if (to < from) throw this.broken("gap_empty");
    if (standing === "unknown") return;
    if (standing === "resumed" && reason !== "slow") throw this.broken("false_recovery", { fault: "gap", last });
    if (from <= last) throw this.broken("gap_overlaps", { last });
    if (this.every && from !== next(last) && (alternative === undefined || from !== next(alternative))) {
      throw this.broken("gap_leaves_hole", { last });
    }
  }

  /** `known`: what was known before the message that breaks the promise. */
  private broken(promise: PromiseName, known?: Known): Fault {
    return new Fault(promise, this.topic, known);
  }

  private hole(standing: Standing, last: Seq): Fault {
    return standing === "resumed"
      ? this.broken("false_recovery", { fault: "hole", last })
      : this.broken("hole", { last });
  }

  private backward(last: Seq, got: Seq): Fault {
    return this.broken(got === last ? "duplicate" : "backward", { last });
  }
}
