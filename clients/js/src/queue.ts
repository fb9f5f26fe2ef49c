/**
 * What waits for a program that reads with `for await`. Pure and bounded.
 *
 * Of a conflated topic the newest message waits, in the place of the older one. Of other topics at most `max` events wait; then
 * the oldest messages are dropped, and a gap with reason `consumer` names them before anything newer comes.
 */

import type { Gap, SubscriptionEvent, TopicEvent } from "./events.js";

/** An event of a subscription. */
export type Event<T> = TopicEvent<T> | SubscriptionEvent;

interface Slot<T> {
  event: Event<T>;
  isConflated: boolean;
}

export class EventQueue<T> {
  private slots: Slot<T>[] = [];
  private head = 0;
  /** The waiting message of each conflated topic. */
  private newest = new Map<string, Slot<T>>();
  /** What was dropped of each topic, not told yet. All of it is older than what waits. */
  private dropped = new Map<string, Gap>();
  /** How many of the slots count. */
  private counted = 0;

  constructor(private readonly max: number) {}

  get isEmpty(): boolean {
    return this.dropped.size === 0 && this.head === this.slots.length;
  }

  push(event: Event<T>, isConflated: boolean): void {
    if (event.type === "message" && isConflated) {
      const waiting = this.newest.get(event.topic);
      if (waiting) {
        waiting.event = event;
        return;
      }
      const slot = { event, isConflated };
      this.newest.set(event.topic, slot);
      this.slots.push(slot);
      return;
    }
    this.slots.push({ event, isConflated: false });
    this.counted += 1;
    if (this.counted > this.max) this.dropOldest();
  }

  shift(): Event<T> | undefined {
    for (const [topic, gap] of this.dropped) {
      this.dropped.delete(topic);
      return gap;
    }
    const slot = this.slots[this.head];
    if (!slot) return undefined;
    this.advance();
    if (slot.isConflated && slot.event.type === "message") this.newest.delete(slot.event.topic);
    else this.counted -= 1;
    return slot.event;
  }

  /** Leaves the first slot behind. */
  private advance(): void {
    this.head += 1;
    if (this.head > 1_024 && this.head * 2 > this.slots.length) {
      this.slots = this.slots.slice(this.head);
      this.head = 0;
    }
  }

  /** Drops the oldest message, or gap, that counts; if only other events wait, the oldest of these. */
  private dropOldest(): void {
    const counts = (slot: Slot<T>): boolean => !slot.isConflated;
    const isOfTopic = ({ event }: Slot<T>): boolean => event.type === "message" || event.type === "gap";
    let at = this.find((slot) => counts(slot) && isOfTopic(slot));
    if (at < 0) at = this.find(counts);
    const slot = this.slots[at];
    // Nearly always it is the first.
    if (at === this.head) this.advance();
    else this.slots.splice(at, 1);
    this.counted -= 1;
    const event = slot?.event;
    if (event?.type === "message") this.note(event.topic, event.epoch ?? "", event.seq, event.seq);
    else if (event?.type === "gap") this.note(event.topic, event.epoch, event.from, event.to);
  }

  private find(wanted: (slot: Slot<T>) => boolean): number {
    for (let at = this.head; at < this.slots.length; at += 1) if (wanted(this.slots[at] as Slot<T>)) return at;
    return -1;
  }

  private note(topic: string, epoch: string, from: Gap["from"], to: Gap["to"]): void {
    const known = this.dropped.get(topic);
    if (known?.epoch === epoch) {
      if (to > known.to) known.to = to;
    } else {
      this.dropped.set(topic, { type: "gap", topic, epoch, from, to, reason: "consumer" });
    }
  }
}
