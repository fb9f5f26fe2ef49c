/**
 * The books that a client rebuilds, as far as they are known.
 *
 * A subscription may begin without the whole book: it is resumed, or has no snapshot. Such a book is unknown, and nothing is
 * checked of it until a snapshot comes. Where a snapshot is due before any change, a change without it is a broken promise.
 */

import { Book, type BookFault } from "./book.js";
import { STALE_BOOK } from "./planted.js";
import type { Seq } from "./seq.js";
import { matches } from "./topic.js";
import type { Position, Result } from "./types.js";

export { Book } from "./book.js";
export { LiveBook } from "./livebook.js";

interface Rebuilt {
  book: Book;
  /** Whether a snapshot has to come before any change. */
  snapshotDue: boolean;
}

export class Books {
  private readonly books = new Map<string, Rebuilt>();

  /** `pattern`: the topics whose books are rebuilt; those of {@link watch} are, too. */
  constructor(private readonly pattern: string | undefined) {}

  /** Rebuilds the book of `topic` from now on. */
  watch(topic: string): Book {
    return (this.find(topic) ?? this.add(topic)).book;
  }

  /** The book of `topic`, if it is rebuilt. */
  of(topic: string): Book | undefined {
    return this.find(topic)?.book;
  }

  private find(topic: string): Rebuilt | undefined {
    const rebuilt = this.books.get(topic);
    if (rebuilt || this.pattern === undefined || !matches(this.pattern, topic)) return rebuilt;
    return this.add(topic);
  }

  private add(topic: string): Rebuilt {
    const rebuilt = { book: new Book(), snapshotDue: false };
    this.books.set(topic, rebuilt);
    return rebuilt;
  }

  /** The topic goes on after the message `at`. */
  goesOn(topic: string, at: Position): void {
    const rebuilt = this.find(topic);
    if (!rebuilt) return;
    rebuilt.snapshotDue = false;
    const now = rebuilt.book.position;
    if (now?.epoch === at.epoch && now.seq === at.seq) return;
    if (at.seq === 0) rebuilt.book.begin(at.epoch);
    else rebuilt.book.makeStale();
  }

  awaitsSnapshot(topic: string): void {
    const rebuilt = this.find(topic);
    if (!rebuilt || STALE_BOOK) return;
    rebuilt.book.makeStale();
    rebuilt.snapshotDue = true;
  }

  /** An ack came for a topic that is live already, or for a one-shot of it. */
  acked({ topic, epoch, seq }: Result): void {
    if (epoch !== undefined && seq === 0) this.begins(topic, epoch);
  }

  /** An ack came for a topic without earlier messages. `snapshot`: whether one comes if the topic has a message. */
  subscribed(result: Result, since: Position | undefined, snapshot: boolean): void {
    const { topic, epoch, seq, recovered } = result;
    if (epoch === undefined || seq === undefined) return;
    if (since && recovered) this.goesOn(topic, since);
    // A refused resume brings a snapshot even if the request wanted none.
    else if (seq !== 0 && (snapshot || recovered === false)) this.awaitsSnapshot(topic);
    else this.goesOn(topic, { epoch, seq });
  }

  joined(topic: string, epoch: string, seq: Seq): void {
    if (seq === 0) this.begins(topic, epoch);
    else this.goesOn(topic, { epoch, seq });
  }

  ended(topic: string): void {
    this.of(topic)?.makeStale();
  }

  /** The topic has no message yet: if it is a book, the book begins empty. */
  private begins(topic: string, epoch: string): void {
    const rebuilt = this.find(topic);
    if (!rebuilt || rebuilt.book.position?.epoch === epoch) return;
    rebuilt.book.begin(epoch);
    rebuilt.snapshotDue = false;
  }

  /** Takes a snapshot's data. Returns what is wrong with it, if anything. */
  snapshot(topic: string, epoch: string, seq: Seq, data: unknown): BookFault | undefined {
    const rebuilt = this.find(topic);
    if (!rebuilt) return undefined;
    rebuilt.snapshotDue = false;
    return rebuilt.book.snapshot(epoch, seq, data);
  }

  /** Takes an update's data. Returns what is wrong with it, if anything. */
  update(topic: string, seq: Seq, data: unknown): BookFault | undefined {
    const rebuilt = this.find(topic);
    if (!rebuilt) return undefined;
    // A fault is told once: after it the book is unknown until the next snapshot.
    const isDue = rebuilt.snapshotDue;
    rebuilt.snapshotDue = false;
    return rebuilt.book.isStale && !isDue ? undefined : rebuilt.book.update(seq, data);
  }
}
