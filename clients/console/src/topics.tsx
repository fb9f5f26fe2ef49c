// The screen of topics: which there are, and a tap that shows the messages of any pattern as they come.
//
// The list is asked for now and then and costs the broker one look at its topics. The tap is a subscription like any
// other: the page is a slow reader at its own cost, and gaps are shown. It keeps the last messages only.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { type TopicEntry, type TopicsPage, ask, repeat } from "./broker.ts";
import { type Data, type Feed, type Subscription, WebSocketFeed } from "./feed.ts";
import { clock, count, rate } from "./format.ts";
import { Store, useStore } from "./frame.ts";
import { Rows } from "./rows.tsx";
import { holds, indented, summary, visible } from "./text.ts";

/** Messages that the tap keeps, and their characters: whichever is fewer. For a while it keeps twice as many. */
const KEPT = 1_000;
const KEPT_CHARACTERS = 8_000_000;
/** The characters of a message that a row shows. */
const SHOWN = 200;
const LIST_EVERY_MS = 4_000;
/** Messages come faster than anyone can read: they are drawn ten times a second. */
const DRAW_EVERY_MS = 100;
const ROW = 26;

interface Row extends TopicEntry {
  /** Messages a second between the last two lists that it was in. */
  rate: number | undefined;
}

type Order = "topic" | "rate" | "subscribers";

/** The topics of a pattern. */
class List extends Store {
  rows: Row[] = [];
  more = false;
  reason = "";
  #known = new Map<string, Row>();
  #at = 0;

  take(page: TopicsPage): void {
    const now = performance.now();
    const seconds = (now - this.#at) / 1_000;
    this.rows = page.topics.map((entry) => {
      const before = this.#known.get(entry.topic);
      const known = before?.epoch === entry.epoch ? Math.max(0, entry.seq - before.seq) / seconds : undefined;
      return Object.assign(entry, { rate: known });
    });
    this.#known = new Map(this.rows.map((row) => [row.topic, row]));
    this.more = page.next !== undefined;
    this.#at = now;
    this.touch();
  }
}

/** A message, of which the text is kept only. */
type Tapped = Pick<Data, "topic" | "seq" | "ts" | "text">;

/** The last messages of a pattern. */
export class Tap extends Store {
  messages: Tapped[] = [];
  /** The newest number of each topic. */
  seqs = new Map<string, number>();
  /** Messages since it began, and missing ones that gaps named. */
  seen = 0;
  missed = 0;
  reason = "";
  paused = false;
  /** Messages of the last second, and of the current one. */
  perSecond = 0;
  #counted = 0;
  #characters = 0;
  #timer: ReturnType<typeof setInterval>;
  #feed: Feed;
  #subscription: Subscription;

  constructor(token: string, pattern: string, feed?: Feed) {
    super(DRAW_EVERY_MS);
    this.#feed = feed ?? new WebSocketFeed(token, () => this.touch());
    this.#timer = setInterval(() => this.second(), 1_000);
    this.#subscription = this.#feed.subscribe(
      pattern,
      {},
      {
        reset: () => {
          // After a restart of the broker the numbers are those of other epochs.
          this.seqs.clear();
          this.touch();
        },
        data: (message) => this.#take(message),
        gap: (gap) => {
          this.missed += gap.to - gap.from + 1;
          this.touch();
        },
        // A topic's next life begins with other numbers.
        joined: ({ topic, seq }) => {
          this.seqs.set(topic, seq);
          this.touch();
        },
        end: ({ topic }) => {
          this.seqs.delete(topic);
          this.touch();
        },
        refused: (reason) => {
          this.reason = reason;
          this.touch();
        },
      },
    );
  }

  get status() {
    return this.#feed.status;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#subscription.close();
    this.#feed.close();
  }

  #take(message: Data): void {
    this.seen += 1;
    this.#counted += 1;
    const { topic, seq, ts, text } = message;
    this.seqs.set(topic, seq);
    if (!this.paused) {
      this.messages.push({ topic, seq, ts, text });
      this.#characters += text.length;
      if (this.messages.length >= 2 * KEPT || this.#characters >= 2 * KEPT_CHARACTERS) this.#shorten();
    }
    this.touch();
  }

  #shorten(): void {
    let dropped = 0;
    while (this.messages.length - dropped > KEPT || this.#characters > KEPT_CHARACTERS) {
      this.#characters -= this.messages[dropped]?.text.length ?? 0;
      dropped += 1;
    }
    this.messages.splice(0, dropped);
  }

  /** Ends a second of the count. */
  second(): void {
    if (this.perSecond === 0 && this.#counted === 0) return;
    this.perSecond = this.#counted;
    this.#counted = 0;
    this.touch();
  }
}

export function Topics({ token }: { token: string }) {
  const [pattern, setPattern] = useState(">");
  const list = useMemo(() => new List(), []);
  const [tap, setTap] = useState<Tap>();
  const [tapped, setTapped] = useState("");

  useEffect(
    () =>
      repeat(LIST_EVERY_MS, async () => {
        const path = `/v1/topics?limit=10000&match=${encodeURIComponent(pattern)}`;
        const { value, reason } = await ask<TopicsPage>(path, token);
        list.reason = reason;
        if (value) list.take(value);
        else list.touch();
        return value !== undefined;
      }),
    [pattern, token],
  );
  useEffect(() => () => tap?.close(), [tap]);

  const begin = (wanted: string): void => {
    setTapped(wanted);
    setTap(wanted ? new Tap(token, wanted) : undefined);
  };
  return (
    <div class="topics">
      <Listed list={list} pattern={pattern} setPattern={setPattern} tap={begin} tapped={tapped} live={tap} />
      <section aria-labelledby="tap-title">
        <h2 id="tap-title">{tap ? `Tap of ${tapped}` : "Tap"}</h2>
        {tap ? (
          <TapView tap={tap} stop={() => begin("")} />
        ) : (
          <p class="empty">
            Choose a topic, or tap the whole pattern, to see its messages as they come. The tap is a reader like any other.
          </p>
        )}
      </section>
    </div>
  );
}

interface ListedProps {
  list: List;
  pattern: string;
  setPattern(pattern: string): void;
  tap(pattern: string): void;
  tapped: string;
  live: Tap | undefined;
}

function Listed({ list, pattern, setPattern, tap, tapped, live }: ListedProps) {
  useStore(list);
  const [filter, setFilter] = useState("");
  const [order, setOrder] = useState<Order>("topic");
  const field = useRef<HTMLInputElement>(null);
  useStore(live ?? list);

  const rows = useMemo(() => {
    const wanted = filter ? list.rows.filter((row) => row.topic.includes(filter)) : list.rows;
    if (order === "topic") return wanted;
    return [...wanted].sort((a, b) => (b[order] ?? 0) - (a[order] ?? 0));
  }, [list.rows, filter, order]);

  const sorted = (name: Order) => ({
    sorted: order === name ? (name === "topic" ? "ascending" : "descending") : ("none" as const),
    sort: () => setOrder(name),
  }) as const;
  const search = (event: Event): void => {
    event.preventDefault();
    setPattern(field.current?.value.trim() || ">");
  };
  return (
    <section aria-labelledby="topics-title">
      <h2 id="topics-title">
        {count(rows.length)} topics{list.more ? ", the first ones only" : ""}
      </h2>
      <form class="bar" onSubmit={search}>
        <label>
          Pattern
          <input ref={field} defaultValue={pattern} spellcheck={false} />
        </label>
        <button type="submit">List</button>
        <button type="button" onClick={() => tap(field.current?.value.trim() || ">")}>
          Tap
        </button>
        <label>
          Filter
          <input value={filter} spellcheck={false} onInput={(event) => setFilter(event.currentTarget.value)} />
        </label>
      </form>
      {list.reason && <p class="notice">{list.reason}</p>}
      <Rows
        label="Topics"
        minWidth="37rem"
        rowHeight={ROW}
        total={rows.length}
        columns={[
          { name: "Topic", ...sorted("topic") },
          { name: "Kind", width: "3.6rem" },
          { name: "Seq", width: "5.6rem", number: true },
          { name: "Epoch", width: "6.6rem" },
          { name: "Per second", width: "6.2rem", number: true, ...sorted("rate") },
          { name: "Readers", width: "5rem", number: true, ...sorted("subscribers") },
        ]}
        row={(at, tabIndex) => {
          const row = rows[at];
          if (!row) return undefined;
          const seq = Math.max(row.seq, live?.seqs.get(row.topic) ?? 0);
          return {
            key: row.topic,
            selected: row.topic === tapped,
            cells: [
              <button type="button" class="link" tabIndex={tabIndex} onClick={() => tap(row.topic)}>
                {row.topic}
              </button>,
              row.kind,
              count(seq),
              row.epoch,
              row.rate === undefined ? "–" : rate(row.rate),
              count(row.subscribers),
            ],
          };
        }}
        empty="No topic matches."
      />
    </section>
  );
}

function TapView({ tap, stop }: { tap: Tap; stop(): void }) {
  useStore(tap);
  const [filter, setFilter] = useState("");
  const [open, setOpen] = useState<Tapped>();
  const last = tap.messages.slice(-KEPT);
  const shown = filter ? last.filter(({ topic, text }) => topic.includes(filter) || holds(text, filter)) : last;
  const pause = (): void => {
    tap.paused = !tap.paused;
    tap.touch();
  };
  const status = tap.status.state === "lost" ? `disconnected: ${tap.status.reason}` : tap.status.state;
  return (
    <>
      <div class="bar">
        <button type="button" aria-pressed={tap.paused} onClick={pause}>
          Pause
        </button>
        <button type="button" onClick={stop}>
          Stop
        </button>
        <label>
          Filter
          <input value={filter} spellcheck={false} onInput={(event) => setFilter(event.currentTarget.value)} />
        </label>
        <span class="facts">
          {status} · {count(tap.perSecond)}/s · {count(tap.seen)} seen · {count(tap.missed)} missed
        </span>
      </div>
      {tap.reason && <p class="notice">{tap.reason}</p>}
      <Rows
        label="Messages"
        minWidth="36rem"
        minWidthPhone="20rem"
        rowHeight={ROW}
        total={shown.length}
        columns={[
          { name: "Time", width: "7.5rem", notOnPhone: true },
          { name: "Topic", width: "11rem" },
          { name: "Seq", width: "5rem", number: true, notOnPhone: true },
          { name: "Message" },
        ]}
        row={(at, tabIndex) => {
          // The newest is on top.
          const message = shown[shown.length - 1 - at];
          if (!message) return undefined;
          return {
            // A row stays where it is, and its message changes: nothing is moved.
            key: String(at),
            selected: message === open,
            cells: [
              clock(message.ts),
              message.topic,
              count(message.seq),
              <button type="button" class="link message" tabIndex={tabIndex} onClick={() => setOpen(message)}>
                {summary(message.text, SHOWN)}
              </button>,
            ],
          };
        }}
        empty="Nothing yet."
      />
      {open && <Opened message={open} close={() => setOpen(undefined)} />}
    </>
  );
}

function Opened({ message, close }: { message: Tapped; close(): void }) {
  const text = useMemo(() => indented(visible(message.text)), [message]);
  const box = useRef<HTMLDivElement>(null);
  const done = (): void => {
    // Not on the button, which is gone then.
    box.current?.parentElement?.querySelector<HTMLElement>(".rows")?.focus();
    close();
  };
  return (
    <div class="opened" ref={box}>
      <div class="bar">
        <span class="facts">
          {message.topic} · {count(message.seq)}
        </span>
        <button type="button" onClick={done}>
          Close<span class="hidden"> the message</span>
        </button>
      </div>
      <pre class="message" tabIndex={0} role="region" aria-label={`${message.topic}, message ${message.seq}`}>
        {text}
      </pre>
    </div>
  );
}
