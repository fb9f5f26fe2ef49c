// The screen of health: the last 15 minutes of the broker, from the record that it keeps.

import { useEffect, useMemo } from "preact/hooks";
import type uPlot from "uplot";
import { type HealthPage, ask, repeat } from "./broker.ts";
import { bytes, compact, count, duration, rate } from "./format.ts";
import { Store, useStore } from "./frame.ts";
import { BYTES, Plot, WHOLE } from "./plot.tsx";

const EVERY_MS = 2_000;
/** Rows that are kept: as many as the broker keeps. */
const ROWS_MAX = 450;
/** Latencies are those of the deliveries of this many rows. */
const OVER_ROWS = 5;
const OUTCOMES = ["delivered", "conflated", "gapped", "dropped", "pending"] as const;

export class HealthStore extends Store {
  columns = new Map<string, number>();
  /** The positions of the buckets of latencies, and their upper bounds in microseconds. */
  buckets: [at: number, boundUs: number][] = [];
  rows: number[][] = [];
  reason = "";

  /** Asks for the newest rows. Returns whether the broker answered. */
  async look(token: string): Promise<boolean> {
    const after = this.rows.at(-1)?.[0] ?? 0;
    const { value, reason } = await ask<HealthPage>(`/console/health?after=${after}`, token);
    this.reason = reason;
    if (value) this.take(value);
    this.touch();
    return value !== undefined;
  }

  take(page: HealthPage): void {
    // Other columns, or smaller sums, are those of another broker.
    const last = this.rows.at(-1);
    const next = page.rows[0];
    const owed = page.columns.indexOf("owed");
    const isOther = last && next && (next[owed] ?? 0) < (last[owed] ?? 0);
    if (this.columns.size !== page.columns.length || isOther) this.rows = [];
    this.columns = new Map(page.columns.map((name, at) => [name, at]));
    this.buckets = page.columns.flatMap((name, at) => {
      const bound = name.match(/^latency_(\d+|more)$/)?.[1];
      return bound === undefined ? [] : [[at, bound === "more" ? Infinity : Number(bound)] as [number, number]];
    });
    this.rows = [...this.rows, ...page.rows].slice(-ROWS_MAX);
  }

  /** The newest value of a column. */
  now(name: string): number {
    return this.rows.at(-1)?.[this.columns.get(name) ?? -1] ?? 0;
  }

  /** The times of all rows, in seconds. */
  times(): number[] {
    return this.rows.map((row) => (row[0] ?? 0) / 1e6);
  }

  column(name: string): number[] {
    const at = this.columns.get(name) ?? -1;
    return this.rows.map((row) => row[at] ?? 0);
  }

  /** By how much a sum grew in each second. */
  perSecond(name: string): (number | null)[] {
    const values = this.column(name);
    const times = this.times();
    return values.map((value, at) => {
      const seconds = (times[at] ?? 0) - (times[at - 1] ?? 0);
      return at === 0 ? null : (value - (values[at - 1] ?? 0)) / seconds;
    });
  }

  /** The latency that `part` of the deliveries did not exceed, as of each row: the bound of its bucket. */
  latency(part: number): (number | null)[] {
    return this.rows.map((row, index) => {
      const before = this.rows[Math.max(0, index - OVER_ROWS)];
      if (!before || before === row) return null;
      const counts = this.buckets.map(([at]) => (row[at] ?? 0) - (before[at] ?? 0));
      const total = counts.reduce((sum, number) => sum + number, 0);
      if (total === 0) return null;
      let sum = 0;
      const found = counts.findIndex((number) => (sum += number) >= total * part);
      const bound = this.buckets[found]?.[1] ?? Infinity;
      return Number.isFinite(bound) ? bound : (this.buckets.at(-2)?.[1] ?? null);
    });
  }

  /** What remains of the owed messages when all outcomes are taken away: 0, or the broker has a fault. */
  remains(): number {
    // One row may hold a part of a flush. Two rows in a row do not.
    const rest = this.rows.slice(-2).map((row) => {
      const of = (name: string): number => row[this.columns.get(name) ?? -1] ?? 0;
      const pending = of("pending");
      return pending < 0 ? pending : of("owed") - OUTCOMES.reduce((sum, name) => sum + of(name), 0);
    });
    return rest.find((value) => value === 0) ?? rest.at(-1) ?? 0;
  }
}

export function Health({ token }: { token: string }) {
  const store = useMemo(() => new HealthStore(), []);
  useStore(store);
  useEffect(() => repeat(EVERY_MS, () => store.look(token)), [token]);

  const rows = store.rows;
  const data = useMemo(() => {
    const times = store.times();
    const lines = (...series: (number | null)[][]) => [times, ...series] as unknown as uPlot.AlignedData;
    return {
      messages: lines(store.perSecond("publications"), store.perSecond("deliveries")),
      latency: lines(store.latency(0.5), store.latency(0.99), store.latency(0.999)),
      memory: lines(store.column("resident_bytes"), store.column("history_bytes"), store.column("outbox_bytes")),
      readers: lines(store.column("connections"), store.column("lagging")),
    };
  }, [rows]);
  if (rows.length === 0) {
    return <p class="empty">{store.reason || "The broker takes its first figures…"}</p>;
  }
  const newest = (series: (number | null)[]): number => series.at(-1) ?? 0;
  const within = (part: number): string => {
    const us = store.latency(part).at(-1);
    return us === null || us === undefined ? "–" : duration(us);
  };
  return (
    <>
      {store.reason && (
        <p class="notice" role="status">
          {store.reason}
        </p>
      )}
      <dl class="figures">
        <Figure name="Deliveries per second" value={rate(newest(store.perSecond("deliveries")))} />
        <Figure name="Half within" value={within(0.5)} />
        <Figure name="99 % within" value={within(0.99)} />
        <Figure name="99.9 % within" value={within(0.999)} />
        <Figure name="Connections" value={compact(store.now("connections"))} />
        <Figure name="Lagging" value={compact(store.now("lagging"))} />
        <Figure name="Topics" value={compact(store.now("topics"))} />
        <Figure name="Memory" value={bytes(store.now("resident_bytes"))} />
      </dl>
      <div class="health">
        <section aria-labelledby="messages-title">
          <h2 id="messages-title">Messages per second</h2>
          <Plot
            label="Messages per second"
            lines={[
              { label: "Published", colour: "blue" },
              { label: "Delivered", colour: "up" },
            ]}
            data={data.messages}
            value={compact}
            height={210}
          />
        </section>
        <section aria-labelledby="latency-title">
          <h2 id="latency-title">Latency of deliveries, at most</h2>
          <Plot
            label="Latency of deliveries"
            lines={[
              { label: "50 %", colour: "up" },
              { label: "99 %", colour: "amber" },
              { label: "99.9 %", colour: "down" },
            ]}
            data={data.latency}
            logarithmic
            value={duration}
            height={210}
          />
          <p class="hint">From a message's entry to the write of its last byte, replayed messages included.</p>
        </section>
        <section aria-labelledby="memory-title">
          <h2 id="memory-title">Memory</h2>
          <Plot
            label="Memory"
            lines={[
              { label: "Process", colour: "blue" },
              { label: "Histories", colour: "amber" },
              { label: "Outboxes", colour: "down" },
            ]}
            data={data.memory}
            value={bytes}
            steps={BYTES}
            height={210}
          />
        </section>
        <section aria-labelledby="readers-title">
          <h2 id="readers-title">Readers</h2>
          <Plot
            label="Readers"
            lines={[
              { label: "Connections", colour: "blue" },
              { label: "Lagging", colour: "down" },
            ]}
            data={data.readers}
            value={compact}
            steps={WHOLE}
            height={210}
          />
        </section>
        <Ledger store={store} />
        <Faults store={store} />
      </div>
    </>
  );
}

function Figure({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

const MEANING: Record<(typeof OUTCOMES)[number], string> = {
  delivered: "handed to the socket",
  conflated: "made superfluous by a newer message",
  gapped: "named in a gap",
  dropped: "pending when their reader left",
  pending: "on their way",
};

function Ledger({ store }: { store: HealthStore }) {
  const owed = store.now("owed");
  const remains = store.remains();
  return (
    <section aria-labelledby="ledger-title">
      <h2 id="ledger-title">Ledger</h2>
      <p class={remains === 0 ? "good" : "notice"}>
        {remains === 0
          ? `It adds up: every one of ${count(owed)} owed messages has an outcome or is on its way.`
          : `It does not add up, which is a fault of the broker: ${count(remains)} of ${count(owed)} messages.`}
      </p>
      <table class="ledger">
        <thead>
          <tr>
            <th scope="col">Outcome</th>
            <th scope="col" class="number">
              Messages
            </th>
            <th scope="col" class="number">
              Part
            </th>
          </tr>
        </thead>
        <tbody>
          {OUTCOMES.map((name) => (
            <tr key={name}>
              <th scope="row">
                {name} <small>{MEANING[name]}</small>
              </th>
              <td class="number">{count(store.now(name))}</td>
              <td class="number">{owed > 0 ? ((100 * store.now(name)) / owed).toFixed(2) : "0.00"} %</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Faults({ store }: { store: HealthStore }) {
  const facts: [string, number][] = [
    ["Times that a reader began to lag", store.now("lags")],
    ["Publications that wait for a shard now", store.now("queue")],
    ["Publications that found a full queue", store.now("queue_overflows")],
    ["Refused requests", store.now("refusals")],
    ["Connections and requests turned away", store.now("turned_away")],
    ["Sessions ended by a fault of the broker", store.now("sessions_failed")],
  ];
  return (
    <section aria-labelledby="faults-title">
      <h2 id="faults-title">Since the start</h2>
      <table class="ledger">
        <tbody>
          {facts.map(([name, value]) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td class="number">{count(value)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
