/** What a program holds of a `subscribe`. */

import { ClosedError, RefusedError } from "./errors.js";
import { Listeners } from "./listeners.js";
import { type Event, EventQueue } from "./queue.js";
import type { Seq } from "./seq.js";
import { isPattern, matches } from "./topic.js";
import type { Position, Positions, Result } from "./types.js";

/** Where a topic stands for this subscription. */
interface Standing {
  epoch: string | undefined;
  seq: Seq;
  /** Whether a snapshot is new, although it repeats the last number: messages were missing. */
  isOpen: boolean;
}

type Listener<E> = (event: E) => void;

/** A promise that its owner settles. One that nobody awaits may fail without harm. */
export class Deferred<T> {
  resolve!: (value: T) => void;
  reject!: (error: Error) => void;
  readonly promise = new Promise<T>((resolve, reject) => {
    this.resolve = resolve;
    this.reject = reject;
  });

  constructor() {
    this.promise.catch(() => {});
  }
}

/** @internal What a subscription needs of its client. */
export interface Owner {
  endSubscription(subscription: Subscription): Promise<void>;
}

/**
 * Topics and patterns of one `subscribe`. It lasts over reconnects, until {@link unsubscribe}.
 *
 * It is read by listeners ({@link on}) or with `for await`. What comes before either waits, up to the option `queue`.
 */
export class Subscription<T = unknown> implements AsyncIterable<Event<T>> {
  private readonly held: Set<string>;
  private readonly listeners = new Listeners<Event<T>>();
  private queue: EventQueue<T> | undefined;
  private isIterated = false;
  private waiting: Deferred<void> | undefined;
  private ended: { error?: Error } | undefined;
  /** By topic: what has come, and what the program was given. */
  private readonly come = new Map<string, Standing>();
  private readonly given = new Map<string, Position>();
  private readonly grant = new Deferred<Result[]>();
  private readonly sync = new Deferred<void>();

  /** @internal */
  constructor(
    private readonly owner: Owner,
    names: readonly string[],
    queueMax: number,
  ) {
    this.held = new Set(names);
    this.queue = new EventQueue(queueMax);
  }

  /**
   * The broker's answer: one result for each name, in order. A name that is refused has its `error` and does not fail the
   * others.
   *
   * Fails with {@link RefusedError} if the request was refused as a whole, or with {@link ClosedError} if the client stopped
   * first.
   */
  get granted(): Promise<Result[]> {
    return this.grant.promise;
  }

  /** Fulfilled when everything that the subscription begins with has come: each snapshot and each message of a replay. */
  get synced(): Promise<void> {
    return this.sync.promise;
  }

  /** Whether the subscription is over. */
  get isOver(): boolean {
    return this.ended !== undefined;
  }

  /**
   * Calls `listener` for each event of a type; for each event of any type if that is `"event"`. Returns a function that ends
   * it. Events that came before the first listener are told to it right after.
   */
  on<Type extends Event<T>["type"]>(type: Type, listener: Listener<Extract<Event<T>, { type: Type }>>): () => void;
  on(type: "event", listener: Listener<Event<T>>): () => void;
  on(type: string, listener: Listener<never>): () => void {
    if (!this.isIterated && this.queue) queueMicrotask(() => this.flush());
    return this.listeners.add(type, listener);
  }

  /** Gives what waited to the listeners, which take everything from now on. */
  private flush(): void {
    const queue = this.isIterated ? undefined : this.queue;
    if (!queue) return;
    this.queue = undefined;
    for (let event = queue.shift(); event; event = queue.shift()) this.give(event);
  }

  /** Reads the events. Ends with the subscription; fails if that ended because of an error. */
  [Symbol.asyncIterator](): AsyncIterator<Event<T>> {
    this.isIterated = true;
    this.queue ??= new EventQueue(10_000);
    const queue = this.queue;
    const done = { done: true as const, value: undefined };
    return {
      next: async () => {
        for (;;) {
          const event = queue.shift();
          if (event) {
            this.note(event);
            return { done: false, value: event };
          }
          if (this.ended?.error) throw this.ended.error;
          if (this.ended) return done;
          this.waiting ??= new Deferred();
          await this.waiting.promise;
        }
      },
      return: async () => {
        this.isIterated = false;
        this.queue = undefined;
        // Nobody waits for the answer: it may take until the next connection.
        this.unsubscribe().catch(() => {});
        return done;
      },
    };
  }

  /**
   * The position in each topic up to which the program was given messages: store it with what was made of them, and go on from
   * there with the option `since`.
   */
  positions(): Positions {
    const positions = Object.create(null) as Positions;
    for (const [topic, position] of this.given) positions[topic] = { ...position };
    return positions;
  }

  /** Ends the subscription. Fulfilled when the broker has answered: nothing comes any more. */
  async unsubscribe(): Promise<void> {
    if (!this.ended) await this.owner.endSubscription(this as Subscription);
  }

  /** The topics and patterns, as they were named. */
  get names(): string[] {
    return [...this.held];
  }

  /** @internal Whether `topic` belongs to it. */
  covers(topic: string): boolean {
    for (const name of this.held) if (matches(name, topic)) return true;
    return false;
  }

  /** @internal */
  isNamed(name: string): boolean {
    return this.held.has(name);
  }

  /** @internal Gives `name` up. Returns whether none is left. */
  forget(name: string): boolean {
    return this.held.delete(name) && this.held.size === 0;
  }

  /** @internal The broker has answered. */
  grantedBy(results: Result[], since: Positions, snapshot: boolean): void {
    this.take({ type: "granted", results }, false);
    for (const { topic, epoch, seq, recovered, replay, error } of results) {
      if (error) {
        this.take({ type: "refused", topic, error: new RefusedError(error, topic) }, false);
        this.forget(topic);
      } else if (!isPattern(topic) && epoch !== undefined && seq !== undefined && !this.given.has(topic)) {
        const from = since[topic];
        if (recovered && from) this.given.set(topic, from);
        else if (recovered === undefined && (seq === 0 || replay || !snapshot)) this.given.set(topic, { epoch, seq });
      }
    }
    this.grant.resolve(results);
    const refused = results.find((result) => result.error)?.error;
    if (refused && results.every((result) => result.error)) this.end(new RefusedError(refused, results[0]?.topic));
  }

  /** @internal */
  syncedBy(error?: Error): void {
    if (error) this.sync.reject(error);
    else this.sync.resolve();
  }

  /** @internal Takes an event that belongs to it. */
  take(event: Event<T>, isConflated: boolean): void {
    if (this.ended || !this.isNews(event)) return;
    if (this.queue) {
      this.queue.push(event, isConflated);
      this.wake();
    } else {
      this.give(event);
    }
  }

  /** A snapshot that another subscription of the client asked for repeats what has come. */
  private isNews(event: Event<T>): boolean {
    if (event.type === "message") {
      const { topic, epoch, seq, snapshot } = event;
      const known = this.come.get(topic);
      if (snapshot && known && !known.isOpen && known.epoch === epoch && seq <= known.seq) return false;
      this.come.set(topic, { epoch, seq, isOpen: false });
    } else if (event.type === "gap") {
      this.come.set(event.topic, { epoch: event.epoch, seq: event.to, isOpen: true });
    } else if (event.type === "end") {
      this.come.delete(event.topic);
    }
    return true;
  }

  /** @internal A snapshot of `topic` was asked for: the next one is news. */
  expectSnapshot(topic: string): void {
    const known = this.come.get(topic);
    if (known) known.isOpen = true;
  }

  private give(event: Event<T>): void {
    this.note(event);
    this.listeners.tell(event);
  }

  /** Notes how far the program has come. */
  private note(event: Event<T>): void {
    switch (event.type) {
      case "message":
      case "gap":
      case "joined": {
        const { topic, epoch } = event;
        const seq = event.type === "gap" ? event.to : event.seq;
        if (epoch !== undefined) this.given.set(topic, { epoch, seq });
        break;
      }
      case "end":
        this.given.delete(event.topic);
    }
  }

  private wake(): void {
    this.waiting?.resolve();
    this.waiting = undefined;
  }

  /** @internal Nothing comes any more. */
  end(error?: Error): void {
    if (this.ended) return;
    this.ended = error ? { error } : {};
    const reason = error ?? new ClosedError("the subscription has ended");
    this.grant.reject(reason);
    this.sync.reject(reason);
    this.wake();
  }
}
