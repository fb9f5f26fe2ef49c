// What the page asks the operators' listener for over HTTP.

export interface About {
  version: string;
  data: boolean;
  reason: string | null;
  token: boolean;
  holder: string | null;
  may_close: boolean;
}

export interface SessionEntry {
  shard: number;
  session: string;
  peer: string | null;
  holder: string | null;
  state: "live" | "lagging" | "catching up" | "closing" | "closed";
  codec: string;
  transport: string;
  owed_messages: number;
  waiting_bytes: number;
  subscriptions: number;
  subscriptions_behind: number;
  oldest_owed_us: number;
  lagging_since: number | null;
  stalled_since: number | null;
  conflated: number;
  gapped: number;
}

export interface SessionsPage {
  sessions: number;
  lagging: number;
  slowest: SessionEntry[];
}

export interface TopicEntry {
  topic: string;
  kind: string;
  epoch: string;
  seq: number;
  subscribers: number;
}

export interface TopicsPage {
  topics: TopicEntry[];
  next?: string;
}

export interface HistoryAnswer {
  epoch: string;
  /** Updates as they come on a connection, oldest first. */
  messages: { seq: number; ts: number; data: unknown }[];
}

export interface HealthPage {
  every_ms: number;
  columns: string[];
  rows: number[][];
}

export interface Answer<T> {
  value?: T;
  /** Why there is none. */
  reason: string;
}

/** Asks for `path`, with the token if there is one. */
export async function ask<T>(path: string, token: string, method = "GET"): Promise<Answer<T>> {
  const headers: Record<string, string> = token ? { Authorization: `Bearer ${token}` } : {};
  try {
    const response = await fetch(path, { method, headers, cache: "no-cache" });
    const value = (await response.json()) as T & { error?: { reason: string } };
    if (response.ok) return { value, reason: "" };
    return { reason: value.error?.reason ?? `status ${response.status}` };
  } catch {
    return { reason: "the broker cannot be reached" };
  }
}

/** The part of the time for which a page that is asked for again and again may keep the broker busy. */
const BUSY_PART = 0.05;

/**
 * Calls `work` about every `everyMs` while the page is visible: less often if the broker takes long to answer, so that
 * looking at a large broker costs it little. `work` says whether the broker answered: one that cannot be reached is not
 * busy. Returns what ends that.
 */
export function repeat(everyMs: number, work: () => Promise<boolean>): () => void {
  let timer = 0;
  let ended = false;
  const turn = async (): Promise<void> => {
    const began = performance.now();
    const answered = !document.hidden && (await work());
    const took = answered ? performance.now() - began : 0;
    if (!ended) timer = window.setTimeout(turn, Math.max(everyMs, took / BUSY_PART));
  };
  void turn();
  return () => {
    ended = true;
    clearTimeout(timer);
  };
}
