/**
 * A connection by server-sent events and HTTP, for networks that block WebSocket.
 *
 * A stream has its topics from the beginning, all in one mode: the mode is that of the subscription which asks for the most.
 * It is made for the requests that it is given, and tells their answers as a WebSocket would. What changes the topics begins
 * another stream; the core does that. Publications go out as requests of their own.
 */

import { nameOf } from "./checker.js";
import { parseJson, toJson } from "./codec.js";
import { TickwireError } from "./errors.js";
import { toMessage } from "./message.js";
import type { Hearing, Link } from "./socket.js";
import { isPattern } from "./topic.js";
import type { Mode, Position, Refusal, Request, Result, ServerMessage, TopicRequest } from "./types.js";

/** Most topics of a stream. */
const TOPICS_MAX = 64;
/** Longest event that is read, in characters. */
const EVENT_MAX = 16 * 1024 * 1024;

type Subscribe = Request & { op: "subscribe" };
type Fetch = typeof fetch;
/** A pair and not a member of an object: the minifier shortens names of members. */
type Header = [name: string, value: string];
/** A message as the broker gives it over HTTP. */
type Snapshot = ServerMessage & { op: "snapshot" };

/** A refusal over HTTP. */
class HttpError extends TickwireError {
  constructor(
    readonly status: number,
    readonly refusal: Refusal | undefined,
    readonly retryAfterMs: number | undefined,
  ) {
    super(refusal ? `${refusal.code}: ${refusal.reason}` : `the request was refused with HTTP status ${status}`);
  }
}

/** The events in a body of `text/event-stream`. */
async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<{ name: string; data: string }> {
  const reader = body.getReader();
  const utf8 = new TextDecoder();
  let text = "";
  let name = "";
  let data: string[] = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const more = utf8.decode(value, { stream: true });
      text += more;
      if (text.length > EVENT_MAX) throw new TickwireError("an event is too long");
      if (!more.includes("\n")) continue; // the line goes on; a whole book may take many pieces
      const lines = text.split("\n");
      text = lines.pop() ?? "";
      for (const line of lines.map((line) => line.replace(/\r$/, ""))) {
        if (line === "") {
          if (data.length > 0) yield { name, data: data.join("\n") };
          name = "";
          data = [];
        } else if (line.startsWith("data:")) {
          data.push(line.slice(5).replace(/^ /, ""));
        } else if (line.startsWith("event:")) {
          name = line.slice(6).trim();
        }
      }
    }
  } finally {
    // The answer is left in the middle; how that ends is of no interest.
    reader.cancel().catch(() => {});
  }
}

/** The mode and pause of the subscription that asks for the most. */
function most(requests: readonly Subscribe[]): { mode?: Mode; conflateMs?: number } {
  const modes = requests.map((request) => request.mode ?? (request.conflate_ms ? "conflate" : undefined));
  const mode = modes.includes("every") ? "every" : modes.every((mode) => mode === "conflate") ? "conflate" : undefined;
  const conflateMs = Math.min(...requests.map((request) => request.conflate_ms ?? 0));
  return { ...(mode && { mode }), ...(mode === "conflate" && conflateMs > 0 && { conflateMs }) };
}

/** Opens a stream for `requests`. Without them it only shows whether the broker can be reached over HTTP. */
export function open(
  fetch: Fetch,
  base: string,
  token: string | undefined,
  requests: readonly Request[] | undefined,
  hearing: Hearing,
): Link {
  const stream = new Stream(fetch, base, token, hearing);
  stream.run(async () => {
    if (requests) {
      await stream.open(requests.filter((request): request is Subscribe => request.op === "subscribe"));
    } else {
      await stream.reach();
      hearing.probed();
    }
  });
  return stream;
}

class Stream implements Link {
  private readonly end = new AbortController();

  constructor(
    private readonly fetch: Fetch,
    private readonly base: string,
    private readonly token: string | undefined,
    private readonly hearing: Hearing,
  ) {}

  close(): void {
    this.end.abort();
  }

  send(_: unknown, request: Request): void {
    if (request.op === "publish") {
      this.publish(request).then(
        (message) => this.hearing.answered(request.id, message),
        () => this.hearing.answered(request.id, undefined),
      );
      return;
    }
    const reason = `${request.op} is not possible over server-sent events`;
    this.hearing.answered(request.id, { op: "error", id: request.id, code: "unknown_op", reason });
  }

  private async publish({ id, topic, data, key }: Request & { op: "publish" }): Promise<ServerMessage> {
    const headers: Header[] = [["Content-Type", "application/json"]];
    if (key !== undefined) headers.push(["Idempotency-Key", key]);
    try {
      const path = `/topics/${encodeURIComponent(topic)}`;
      const response = await this.get(path, headers, { method: "POST", body: toJson(data) }, false);
      return { op: "ack", id, results: [(await response.json()) as Result] };
    } catch (error) {
      if (!(error instanceof HttpError)) throw error;
      return { op: "error", id, ...(error.refusal ?? { code: "internal", reason: error.message }) };
    }
  }

  /** Makes a request. `ends`: whether it ends with the stream. */
  private async get(path: string, headers: Header[] = [], init: RequestInit = {}, ends = true) {
    const { fetch, token } = this;
    const response = await fetch(this.base + path, {
      cache: "no-store",
      ...(ends && { signal: this.end.signal }),
      ...init,
      headers: token === undefined ? headers : [...headers, ["Authorization", `Bearer ${token}`]],
    });
    if (response.ok) return response;
    const after = Number(response.headers.get("Retry-After"));
    let refusal: Refusal | undefined;
    try {
      refusal = ((await response.json()) as { error?: Refusal }).error;
    } catch {
      refusal = undefined; // another server has answered
    }
    throw new HttpError(response.status, refusal, after > 0 ? after * 1_000 : undefined);
  }

  /** Does what the link is for, and tells if that fails. */
  run(work: () => Promise<void>): void {
    work().catch((error: Error) => {
      if (this.end.signal.aborted) return;
      this.hearing.failed({
        reason: error.message,
        ...(error instanceof HttpError && {
          status: error.status,
          ...(error.retryAfterMs !== undefined && { retryAfterMs: error.retryAfterMs }),
        }),
      });
    });
  }

  async open(requests: readonly Subscribe[]): Promise<void> {
    const once = requests.filter((request) => request.mode === "snapshot");
    const lasting = requests.filter((request) => request.mode !== "snapshot");
    if (lasting.length > 0) {
      await this.subscribe(lasting, () => this.takeOnce(once));
      return;
    }
    await this.reach();
    this.welcome();
    this.takeOnce(once);
  }

  /** Shows that the broker is there and lets this client in. */
  async reach(): Promise<void> {
    await this.get("/topics?limit=1");
  }

  /** The welcome of a connection without a stream: the broker can say nothing by itself then. */
  private welcome(): void {
    const rates = { ops_per_s: 0, ops_burst: 0, publishes_per_s: 0, publishes_burst: 0 };
    const limits = { subscriptions: TOPICS_MAX, message_bytes: 65_536, ...rates };
    this.hearing.heard({ op: "welcome", session: "", server: "", ts: 0, heartbeat_ms: 2 ** 40, limits });
  }

  /** Takes the values of subscriptions in mode `snapshot`, which last no longer than that. */
  private takeOnce(requests: readonly Subscribe[]): void {
    for (const request of requests) {
      const names = [...new Set(request.topics.map(nameOf))];
      this.follow(names, { mode: "snapshot" }, [], (message) => {
        if (message.op === "ack") this.hearing.heard({ ...message, id: request.id });
        else if (message.op === "snapshot") this.hearing.heard(message);
        else if (message.op === "synced") {
          this.hearing.heard({ ...message, id: request.id });
          return false;
        }
        return true;
      }).catch((error: Error) => {
        if (this.end.signal.aborted) return;
        const refusal = error instanceof HttpError ? error.refusal : undefined;
        const { code = "internal", reason = error.message } = refusal ?? {};
        this.hearing.heard({ op: "error", id: request.id, code, reason });
      });
    }
  }

  /** Follows one stream until it ends or `take` returns false. Returns whether it ended by itself. */
  private async follow(
    names: readonly string[],
    { mode, conflateMs }: { mode?: Mode; conflateMs?: number },
    headers: Header[],
    take: (message: ServerMessage) => boolean,
  ): Promise<boolean> {
    const query = new URLSearchParams(names.map((name) => ["topic", name]));
    if (mode) query.set("mode", mode);
    if (conflateMs) query.set("conflate_ms", String(conflateMs));
    const response = await this.get(`/sse?${query}`, [...headers, ["Accept", "text/event-stream"]]);
    if (!response.body) throw new TickwireError("this platform cannot read a stream");
    for await (const { name, data } of events(response.body)) {
      const value = parseJson(data);
      if (name === "close") {
        const { code, reason } = value as { code: number; reason: string };
        this.hearing.closed(code, reason);
        return false;
      }
      const message = toMessage(value);
      if (message && !take(message)) return false;
    }
    return true;
  }

  private async subscribe(requests: readonly Subscribe[], welcomed: () => void): Promise<void> {
    const entries = requests.flatMap((request) => request.topics);
    const all = [...new Set(entries.filter((entry) => !isReplay(entry)).map(nameOf))];
    const names = all.slice(0, TOPICS_MAX);
    const since = names.some(isPattern) ? new Map<string, Position>() : positionsIn(requests);
    const fresh =
      since.size > 0
        ? await this.valuesOf(
            names.filter((name) => !since.has(name)),
            since,
          )
        : undefined;
    const headers: Header[] = fresh
      ? [["Last-Event-ID", eventId(names.map((name) => since.get(name) as Position))]]
      : [];
    let isWelcome = false;
    const take = (message: ServerMessage): boolean => {
      if (message.op === "welcome") {
        isWelcome = true;
        this.hearing.heard(message);
        welcomed();
      } else if (message.op === "ack") {
        this.acked(requests, names, message.results, fresh);
      } else if (message.op === "synced") {
        for (const { id } of requests) this.hearing.heard({ op: "synced", id });
      } else {
        this.hearing.heard(message);
      }
      return !this.end.signal.aborted;
    };
    try {
      const isOver = await this.follow(names, most(requests), headers, take);
      if (isOver) this.hearing.closed(1006, "");
    } catch (error) {
      if (this.end.signal.aborted) return;
      if (isWelcome) {
        this.hearing.closed(1006, (error as Error).message);
      } else if (error instanceof HttpError && error.refusal && [400, 403, 404].includes(error.status)) {
        // If the broker lets this client in, it has refused the topics.
        await this.reach();
        this.welcome();
        welcomed();
        const results = names.map((topic) => ({ topic, error: error.refusal as Refusal }));
        this.acked(requests, names, results, undefined);
      } else {
        throw error;
      }
    }
  }

  /** The values of topics that are not resumed, so that the stream can begin after them. Adds their positions to `since`. */
  private async valuesOf(
    names: readonly string[],
    since: Map<string, Position>,
  ): Promise<Map<string, Snapshot | null>> {
    const values = new Map<string, Snapshot | null>();
    const epoch = ([...since.values()][0] as Position).epoch;
    await Promise.all(
      names.map(async (name) => {
        try {
          const response = await this.get(`/topics/${encodeURIComponent(name)}`);
          const value = toMessage(parseJson(await response.text()));
          if (value?.op !== "snapshot") throw new TickwireError(`the value of ${name} is none`);
          values.set(name, value);
          since.set(name, { epoch: value.epoch, seq: value.seq });
        } catch (error) {
          if (!(error instanceof HttpError) || error.status >= 500 || error.status === 401) throw error;
          // The topic does not exist yet, or the stream's answer will say why it is refused.
          values.set(name, null);
          since.set(name, { epoch, seq: 0 });
        }
      }),
    );
    return values;
  }

  /** Tells each request its part of the stream's answer. */
  private acked(
    requests: readonly Subscribe[],
    names: readonly string[],
    results: readonly Result[],
    fresh: ReadonlyMap<string, Snapshot | null> | undefined,
  ): void {
    const byName = new Map(names.map((name, index) => [name, results[index]]));
    const values: Snapshot[] = [];
    const resultOf = (entry: TopicRequest): Result => {
      const name = nameOf(entry);
      if (isReplay(entry)) {
        const reason = "a stream of server-sent events takes no `from`";
        return { topic: name, error: { code: "bad_request", reason, retryable: false } };
      }
      const result = byName.get(name);
      if (!result) {
        const reason = `a stream has at most ${TOPICS_MAX} topics`;
        return { topic: name, error: { code: "limit_exceeded", reason, retryable: false } };
      }
      const value = fresh?.get(name);
      if (result.error || value === undefined) return result;
      if (value === null) return { ...result, seq: 0 };
      values.push(value);
      return { ...result, epoch: value.epoch, seq: value.seq };
    };
    for (const { id, topics } of requests) {
      const told = topics.map((entry) => {
        const { recovered, ...rest } = resultOf(entry);
        // Another request may have resumed the topic.
        return typeof entry === "string" || recovered === undefined ? rest : { ...rest, recovered };
      });
      this.hearing.heard({ op: "ack", id, results: told });
    }
    for (const value of new Set(values)) this.hearing.heard(value);
  }
}

/** Whether a topic is to begin with a moment, which streams cannot. */
function isReplay(entry: TopicRequest): boolean {
  return typeof entry !== "string" && entry.from !== undefined;
}

function positionsIn(requests: readonly Subscribe[]): Map<string, Position> {
  const positions = new Map<string, Position>();
  for (const entry of requests.flatMap((request) => request.topics)) {
    if (typeof entry !== "string" && entry.since && !Array.isArray(entry.since))
      positions.set(entry.topic, entry.since);
  }
  return positions;
}

/** `EPOCH:SEQ,SEQ;EPOCH:SEQ`, in the order of the topics. */
function eventId(positions: readonly Position[]): string {
  let text = "";
  let last: string | undefined;
  for (const { epoch, seq } of positions) {
    text += epoch === last ? `,${seq}` : `${last === undefined ? "" : ";"}${epoch}:${seq}`;
    last = epoch;
  }
  return text;
}
