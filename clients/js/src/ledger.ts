/**
 * The list of subscriptions, from which a new connection restores what the old one had.
 *
 * Pure. A topic resumes from its last position, a pattern from those of all topics that it brought. Positions that do not
 * fit in one message with their pattern go ahead of it, in as many messages as needed. The subscription that asks for more of
 * a topic goes first, so that it is the one that resumes the topic.
 */

import { nameOf } from "./checker.js";
import type { Seq } from "./seq.js";
import { isPattern, matches } from "./topic.js";
import type { Lineage, Mode, Position, TopicRequest } from "./types.js";

/** Bytes of a request besides its topics. */
const REQUEST_BYTES = 256;
/** Bytes of a topic with a position, besides the names of topic and epoch. */
const TOPIC_BYTES = 80;
/** Bytes of one position of a pattern, besides the name of its topic. */
const POSITION_BYTES = 28;
/** Bytes of the positions of one lineage, besides the name of its epoch. */
const LINEAGE_BYTES = 32;

/** The options with which a topic or pattern is subscribed. */
export interface Wanted {
  mode?: Mode | undefined;
  conflateMs?: number | undefined;
  snapshot: boolean;
}

/** A `subscribe` without its id. */
export interface Subscribe {
  wanted: Wanted;
  topics: TopicRequest[];
}

/** A request that restores subscriptions: a `subscribe`, or positions for the patterns of the next one. */
export type Step = Subscribe | { since: Lineage[] };

/** How a topic that is subscribed by its own name goes on: from a position, as a new one, or a pattern brings it already. */
export type Start = Position | "anew" | "flows";

/** Lower for options that ask for more of a topic. */
function compare(a: Wanted, b: Wanted): number {
  const rank = (wanted: Wanted): number => (wanted.mode === "every" ? 0 : wanted.mode === undefined ? 1 : 2);
  return rank(a) - rank(b) || (a.conflateMs ?? 0) - (b.conflateMs ?? 0) || Number(b.snapshot) - Number(a.snapshot);
}

export class Ledger {
  private names = new Map<string, Wanted>();

  /** Adds `name`, which was acked. */
  add(name: string, wanted: Wanted): void {
    if (wanted.mode !== "snapshot") this.names.set(name, wanted);
  }

  remove(name: string): void {
    this.names.delete(name);
  }

  /** Whether `name` is subscribed, as a topic or as a pattern. */
  wants(name: string): boolean {
    return this.names.has(name);
  }

  get size(): number {
    return this.names.size;
  }

  get hasPatterns(): boolean {
    return [...this.names.keys()].some(isPattern);
  }

  /** Whether a subscription covers `topic`: by its own name or by a pattern. */
  covers(topic: string): boolean {
    if (this.names.has(topic)) return true;
    for (const name of this.names.keys()) if (matches(name, topic)) return true;
    return false;
  }

  /**
   * The requests that restore the subscriptions on a new connection, in the order in which to send them. With `only`, they
   * restore just these. `left` has the positions of topics that patterns brought.
   */
  restore(
    only: ReadonlySet<string> | undefined,
    left: Map<string, Position>,
    start: (topic: string) => Start,
    messageBytes: number,
  ): Step[] {
    const meant = [...this.names].filter(([name]) => only?.has(name) ?? true);
    // Names with the same options go in one request. Within a rank, topics go before patterns.
    const groups: { wanted: Wanted; isPattern: boolean; names: string[] }[] = [];
    for (const [name, wanted] of meant.sort(([a], [b]) => (a < b ? -1 : 1))) {
      const group = groups.find((group) => group.isPattern === isPattern(name) && !compare(group.wanted, wanted));
      if (group) group.names.push(name);
      else groups.push({ wanted, isPattern: isPattern(name), names: [name] });
    }
    groups.sort((a, b) => {
      const rank = compare({ ...a.wanted, snapshot: true }, { ...b.wanted, snapshot: true });
      return rank || Number(a.isPattern) - Number(b.isPattern) || compare(a.wanted, b.wanted);
    });
    const flowing = new Set<string>();
    const steps: Step[] = [];
    for (const { wanted, isPattern, names } of groups) {
      if (isPattern) {
        steps.push(...resumePatterns(wanted, names, left, flowing, messageBytes));
        continue;
      }
      const flow: TopicRequest[] = [];
      const others: TopicRequest[] = [];
      for (const name of names) {
        left.delete(name);
        const at = start(name);
        if (at === "flows" || flowing.has(name)) flow.push(name);
        else others.push(at === "anew" ? name : { topic: name, since: at });
      }
      steps.push(...split(wanted, others, messageBytes));
      // A topic that flows already needs no snapshot.
      steps.push(...split({ ...wanted, snapshot: false }, flow, messageBytes));
    }
    return steps;
  }
}

/** The steps that resume patterns with the same options. */
function resumePatterns(
  wanted: Wanted,
  names: string[],
  left: Map<string, Position>,
  flowing: Set<string>,
  messageBytes: number,
): Step[] {
  return split(wanted, names, messageBytes).flatMap((request) => {
    request.topics = request.topics.map((entry) => {
      const brought = new Map([...left].filter(([topic]) => matches(nameOf(entry), topic)));
      for (const topic of brought.keys()) {
        left.delete(topic);
        flowing.add(topic);
      }
      return brought.size > 0 ? { topic: nameOf(entry), since: byLineage(brought) } : entry;
    });
    const ahead = sendAhead(request.topics, messageBytes);
    return [...ahead.map((since) => ({ since })), request];
  });
}

/** A map by topic that also holds a topic of the name `__proto__`. */
function byTopic(topic?: string, seq: Seq = 0): Record<string, Seq> {
  const map = Object.create(null) as Record<string, Seq>;
  if (topic !== undefined) map[topic] = seq;
  return map;
}

/** Groups positions by lineage. */
export function byLineage(positions: Iterable<readonly [string, Position]>): Lineage[] {
  const lineages = new Map<string, Record<string, Seq>>();
  for (const [topic, { epoch, seq }] of positions) {
    let seqs = lineages.get(epoch);
    if (!seqs) lineages.set(epoch, (seqs = byTopic()));
    seqs[topic] = seq;
  }
  return [...lineages].map(([epoch, seqs]) => ({ epoch, seqs }));
}

/**
 * Takes the positions of patterns out of `topics` if they do not all fit in one message. Returns the positions to send
 * ahead, one element for each message.
 */
export function sendAhead(topics: TopicRequest[], messageBytes: number): Lineage[][] {
  const room = messageBytes - REQUEST_BYTES;
  if (topics.reduce((sum, topic) => sum + topicBytes(topic), 0) <= room) return [];
  const messages: Lineage[][] = [];
  let bytes = 0;
  topics.forEach((entry, index) => {
    if (typeof entry === "string" || !Array.isArray(entry.since)) return;
    topics[index] = entry.topic;
    for (const { epoch, seqs } of entry.since) {
      for (const [topic, seq] of Object.entries(seqs)) {
        const message = messages.at(-1);
        const lineage = message?.at(-1);
        const more = topic.length + POSITION_BYTES;
        const begun = more + LINEAGE_BYTES + epoch.length;
        if (lineage?.epoch === epoch && bytes + more <= room) {
          bytes += more;
          lineage.seqs[topic] = seq;
        } else if (message && bytes + begun <= room) {
          bytes += begun;
          message.push({ epoch, seqs: byTopic(topic, seq) });
        } else {
          bytes = begun;
          messages.push([{ epoch, seqs: byTopic(topic, seq) }]);
        }
      }
    }
  });
  return messages;
}

/** The most bytes that an entry takes in a message. */
function topicBytes(entry: TopicRequest): number {
  let bytes = nameOf(entry).length + TOPIC_BYTES;
  if (typeof entry === "string" || !entry.since) return bytes;
  if (!Array.isArray(entry.since)) return bytes + entry.since.epoch.length;
  for (const { epoch, seqs } of entry.since) {
    bytes += LINEAGE_BYTES + epoch.length;
    for (const topic in seqs) bytes += topic.length + POSITION_BYTES;
  }
  return bytes;
}

/** Divides `topics` into requests within the broker's limit. */
function split(wanted: Wanted, topics: readonly TopicRequest[], messageBytes: number): Subscribe[] {
  const requests: Subscribe[] = [];
  let bytes = 0;
  for (const topic of topics) {
    const more = topicBytes(topic);
    bytes += more;
    const last = requests.at(-1);
    if (last && bytes <= messageBytes - REQUEST_BYTES) {
      last.topics.push(topic);
    } else {
      bytes = more;
      requests.push({ wanted, topics: [topic] });
    }
  }
  return requests;
}
