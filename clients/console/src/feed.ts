// A thin reader of the WebSocket protocol (docs/PROTOCOL.md), for this page only. It stands behind the interface `Feed`,
// so that the project's client library can take its place.
//
// Each view has a connection of its own, and the patterns on it never overlap. After a disconnect it connects again,
// with growing waits, and subscribes afresh: its handlers get `reset` first, then snapshots.

export interface Data {
  op: "snapshot" | "update";
  topic: string;
  epoch?: string;
  seq: number;
  ts: number;
  data: unknown;
  /** The whole message as it came. */
  text: string;
}

export interface Gap {
  op: "gap";
  topic: string;
  from: number;
  to: number;
  reason: string;
}

export interface Joined {
  op: "joined";
  topic: string;
  epoch: string;
  seq: number;
}

export interface End {
  op: "end";
  topic: string;
  seq: number;
  reason: string;
}

export interface TopicStatus {
  op: "status";
  topic: string;
  state: "stale" | "live" | "caught_up";
  /** Why a book is stale; missing if its source is silent. */
  reason?: string;
}

export interface Handler {
  /** What was known of these topics is void: messages begin anew. */
  reset(): void;
  data(message: Data): void;
  gap?(gap: Gap): void;
  /** A topic has come to a pattern, or was made again in another epoch: its numbers go on behind `seq`. */
  joined?(joined: Joined): void;
  /** A topic has ended. Its numbers are void. */
  end?(end: End): void;
  /** A topic's source fell silent, its book is in doubt, or either is over. */
  status?(status: TopicStatus): void;
  /** Everything that the subscription began with has come. */
  synced?(): void;
  /** The broker refused the subscription. */
  refused?(reason: string): void;
}

export interface Options {
  /** Shortest time between two messages of a topic in milliseconds, for topics of the kind `state`. */
  conflateMs?: number;
  /** Whether each message is wanted, also of topics whose newer messages replace older ones. */
  every?: boolean;
  /** Number of older messages of the topic to begin with. Not for patterns. */
  history?: number;
}

export interface Subscription {
  close(): void;
}

export interface Status {
  state: "connecting" | "open" | "lost";
  /** Why it was lost, as far as the broker said. */
  reason: string;
  /** The session's name. */
  session: string;
}

export interface Feed {
  readonly status: Status;
  subscribe(pattern: string, options: Options, handler: Handler): Subscription;
  resync(topic: string): void;
  close(): void;
}

interface Entry {
  pattern: string;
  options: Options;
  handler: Handler;
  matches(topic: string): boolean;
  /** Whether messages of its topics are its own: not before the request that asks for them is answered. */
  begun: boolean;
}

interface Result {
  topic: string;
  epoch?: string;
  seq?: number;
  error?: { reason: string };
}

/** Whether a pattern matches topics, by the rules of NATS. */
export function matcher(pattern: string): (topic: string) => boolean {
  if (!/[*>]/.test(pattern)) return (topic) => topic === pattern;
  const tokens = pattern.split(".");
  return (topic) => {
    const parts = topic.split(".");
    for (const [at, token] of tokens.entries()) {
      if (token === ">") return parts.length > at;
      if (at >= parts.length || (token !== "*" && token !== parts[at])) return false;
    }
    return parts.length === tokens.length;
  };
}

/** The subprotocol by which a browser shows a token. */
function tokenProtocol(token: string): string {
  const bytes = new TextEncoder().encode(token);
  const base64 = btoa(String.fromCharCode(...bytes));
  return "tickwire.token." + base64.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

const WAIT_MS_MIN = 250;
const WAIT_MS_MAX = 10_000;

/** Whether a close code asks the client not to come back. */
export const isFinal = (code: number): boolean =>
  (code >= 4_500 && code < 5_000) || [1_002, 1_007, 1_008, 1_009].includes(code);

export class WebSocketFeed implements Feed {
  readonly status: Status = { state: "connecting", reason: "", session: "" };
  #socket: WebSocket | undefined;
  #entries = new Set<Entry>();
  #answers = new Map<number, (results: Result[]) => void>();
  #syncing = new Map<number, Entry>();
  #id = 0;
  #wait = WAIT_MS_MIN;
  #timer = 0;
  #closed = false;

  constructor(
    private readonly token: string,
    private readonly changed: () => void,
  ) {
    this.#connect();
  }

  subscribe(pattern: string, options: Options, handler: Handler): Subscription {
    const entry: Entry = { pattern, options, handler, matches: matcher(pattern), begun: false };
    this.#entries.add(entry);
    if (this.status.state === "open") this.#begin(entry);
    return {
      close: () => {
        if (this.#entries.delete(entry) && this.status.state === "open") {
          this.#request({ op: "unsubscribe", topics: [pattern] });
        }
      },
    };
  }

  resync(topic: string): void {
    if (this.status.state === "open") this.#request({ op: "resync", topic });
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#socket?.close(1000);
  }

  #connect(): void {
    const protocols = ["tickwire.v1.json"];
    if (this.token) protocols.push(tokenProtocol(this.token));
    const url = location.origin.replace(/^http/, "ws") + "/v1/ws";
    const socket = new WebSocket(url, protocols);
    this.#socket = socket;
    socket.onmessage = (event) => this.#message(event.data as string);
    socket.onclose = (event) => this.#lost(event);
  }

  #lost(event: CloseEvent): void {
    this.#answers.clear();
    this.#syncing.clear();
    if (this.#closed) return;
    this.status.state = "lost";
    this.status.reason = event.reason || (event.code === 1006 ? "the broker cannot be reached" : `close ${event.code}`);
    this.changed();
    if (isFinal(event.code)) return;
    this.#timer = window.setTimeout(() => this.#connect(), this.#wait * (0.5 + Math.random() / 2));
    this.#wait = Math.min(this.#wait * 2, WAIT_MS_MAX);
  }

  #request(request: object, answered?: (results: Result[]) => void): number {
    this.#id += 1;
    if (answered) this.#answers.set(this.#id, answered);
    this.#socket?.send(JSON.stringify({ ...request, id: this.#id }));
    return this.#id;
  }

  #begin(entry: Entry): void {
    const { pattern, options } = entry;
    const subscribe = (topic: unknown): void => {
      if (!this.#entries.has(entry)) return;
      const conflate = options.conflateMs === undefined ? {} : { mode: "conflate", conflate_ms: options.conflateMs };
      const mode = options.every ? { mode: "every" } : conflate;
      const id = this.#request({ op: "subscribe", topics: [topic], ...mode }, ([result]) => {
        entry.begun = true;
        if (!result?.error) return;
        this.#syncing.delete(id); // nothing has begun
        entry.handler.refused?.(result.error.reason);
      });
      this.#syncing.set(id, entry);
    };
    entry.begun = false;
    entry.handler.reset();
    if (options.history === undefined) {
      subscribe(pattern);
      return;
    }
    // The position is needed first: then the subscription resumes from an earlier one.
    const history = options.history;
    this.#request({ op: "subscribe", topics: [pattern], mode: "snapshot" }, ([result]) => {
      const { epoch, seq } = result ?? {};
      const since = epoch === undefined || !seq ? undefined : { epoch, seq: Math.max(0, seq - history) };
      subscribe(since === undefined ? pattern : { topic: pattern, since });
    });
  }

  #tell(topic: string, tell: (handler: Handler) => void): void {
    for (const entry of this.#entries) {
      if (entry.begun && entry.matches(topic)) tell(entry.handler);
    }
  }

  #message(text: string): void {
    const message = JSON.parse(text) as Record<string, unknown> & { op: string };
    switch (message.op) {
      case "update":
      case "snapshot": {
        const data = Object.assign(message, { text }) as unknown as Data;
        this.#tell(data.topic, (handler) => handler.data(data));
        break;
      }
      case "gap": {
        const gap = message as unknown as Gap;
        this.#tell(gap.topic, (handler) => handler.gap?.(gap));
        break;
      }
      case "joined": {
        const joined = message as unknown as Joined;
        this.#tell(joined.topic, (handler) => handler.joined?.(joined));
        break;
      }
      case "end": {
        const end = message as unknown as End;
        this.#tell(end.topic, (handler) => handler.end?.(end));
        break;
      }
      case "status": {
        // That a subscriber has caught up says nothing of the source: a book that is in doubt stays so.
        const status = message as unknown as TopicStatus;
        if (status.state !== "caught_up") this.#tell(status.topic, (handler) => handler.status?.(status));
        break;
      }
      case "ack":
      case "error": {
        const id = message["id"] as number;
        const answered = this.#answers.get(id);
        this.#answers.delete(id);
        const refused = [{ topic: "", error: { reason: String(message["reason"]) } }];
        answered?.(message.op === "ack" ? (message["results"] as Result[]) : refused);
        break;
      }
      case "synced": {
        const id = message["id"] as number;
        this.#syncing.get(id)?.handler.synced?.();
        this.#syncing.delete(id);
        break;
      }
      case "welcome":
        this.#wait = WAIT_MS_MIN;
        this.status.state = "open";
        this.status.session = String(message["session"]);
        for (const entry of this.#entries) this.#begin(entry);
        this.changed();
        break;
    }
  }
}
