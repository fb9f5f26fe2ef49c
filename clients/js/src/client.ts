/** The client: the shell that gives the core its sockets, its time and its tokens, and shares out what it tells. */

import type { Book } from "./book.js";
import { type Codec, json } from "./codec.js";
import { type Action, Core, type Transport } from "./core.js";
import { ClosedError, RequestError, TickwireError, UnansweredError } from "./errors.js";
import type { ClientEvent, Clocks } from "./events.js";
import type { Wanted } from "./ledger.js";
import { Listeners } from "./listeners.js";
import type { LiveBook } from "./livebook.js";
import { booksPart, loadStreams } from "./parts.js";
import type { Event } from "./queue.js";
import type { Seq } from "./seq.js";
import { type Asking, entryOf, type Moment, type Reply } from "./session.js";
import { type Hearing, httpBase, type Link, openSocket, type WebSocketConstructor } from "./socket.js";
import { Subscription } from "./subscription.js";
import { isPattern } from "./topic.js";
import type { Mode, Positions, Request, Result } from "./types.js";

/**
 * A token, or where to get one. A function is asked again for each connection: also when the broker closed the last one because
 * its token had expired.
 */
export type TokenSource = string | (() => string | undefined | Promise<string | undefined>);

/** The options of a client. All have defaults. */
export interface ClientOptions {
  /** The token to show. */
  token?: TokenSource;
  /** The codec: JSON, or `msgpack` of `@tickwire/client/msgpack`. */
  codec?: Codec;
  /** The constructor of WebSockets, where the platform has none of its own: Node 20, for example with that of `ws`. */
  WebSocket?: unknown;
  /** Whether to go on with server-sent events where no WebSocket can be opened. Default: true. */
  sse?: boolean;
  /** Whether to try the first connection again if it fails. Default: true. */
  retryFirst?: boolean;
  /** The ceiling of the first wait between attempts, in milliseconds: it doubles with each. Default: 250. */
  firstWaitMs?: number;
  /** The ceiling that no wait exceeds, in milliseconds. Default: 15,000. */
  maxWaitMs?: number;
  /** The longest time that connecting may take, up to the welcome, in milliseconds. Default: 5,000. */
  connectTimeoutMs?: number;
  /** The longest time that a request may take, with the wait for a connection, in milliseconds. Default: 10,000. */
  requestTimeoutMs?: number;
  /** How long a broker may be silent beyond two heartbeats, in milliseconds. Default: 5,000. */
  quietMarginMs?: number;
  /** The time between two readings of the broker's clock, in milliseconds. 0: none, and the first is up to `ping`. Default: 30,000. */
  clockMs?: number;
  /** A pattern: the books of these topics are kept and verified, for {@link Client.bookOf}. */
  verifyBooks?: string;
}

/** The options of a subscription. */
export interface SubscribeOptions {
  /** Default: that of each topic's kind. */
  mode?: Mode;
  /** With `conflate`, the shortest time between two updates of a topic, in milliseconds. */
  conflateMs?: number;
  /** Whether each topic begins with its value. Default: true. */
  snapshot?: boolean;
  /** Where to go on: what {@link Subscription.positions} gave. Topics without a position begin anew. */
  since?: Positions;
  /**
   * Topics without a position in `since` begin with the stored messages from this moment on (microseconds since the Unix epoch, or RFC 3339); `caught_up` tells where live ones
   * begin. It implies the mode `every`, and is for names without wildcards.
   */
  from?: number | string;
  /**
   * With `from`: the stored messages come by so much faster than they came then, as their times say: 1 is as fast, 10 ten times as fast. Default: as fast as they are taken.
   * Behind `caught_up` everything is live.
   */
  speed?: number;
  /** Whether to ask again if the connection is lost before the broker answered. Default: true. */
  retry?: boolean;
  /** Most events that wait for `for await`; of conflated topics only the newest waits, and does not count. Default: 10,000. */
  queue?: number;
}

/** The place that a published message got. */
export interface Published {
  epoch: string;
  seq: Seq;
  /** Whether a message with this key was published before: this is that one's place. */
  duplicate: boolean;
}

type Listener<E> = (event: E) => void;

/** Longest delay of a timer. */
const TIMER_MAX_MS = 2 ** 31 - 1;

/** Monotonic milliseconds, and the machine's time in microseconds. Both are of one clock, so their difference is fixed. */
function moment(): Moment {
  const now = performance.now();
  return { now, wallUs: (performance.timeOrigin + now) * 1_000 };
}

/**
 * Connects to a broker. `urls`: `wss://HOST/v1/ws`, or several of nodes of one cluster. Of these the client chooses one at random,
 * and goes on to another one when it loses it.
 */
export function connect(urls: string | readonly string[], options: ClientOptions = {}): Client {
  return new Client(typeof urls === "string" ? [urls] : urls, options);
}

/** A connection to a broker that reconnects, resumes and checks by itself, until {@link close}. */
export class Client {
  private readonly core: Core;
  private readonly listeners = new Listeners<ClientEvent>();
  /** The subscriptions, with what each has asked for. */
  private readonly subscriptions = new Map<Subscription, Wanted>();
  /** The subscriptions that cover a topic, as long as they stay the same. */
  private covering = new Map<string, Subscription[]>();
  private link: Link | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private timerAt = Number.POSITIVE_INFINITY;
  private isActing = false;
  private readonly online = (): void => this.step((at) => this.core.hurry(at));

  constructor(
    urls: readonly string[],
    private readonly options: ClientOptions = {},
  ) {
    if (urls.length === 0) throw new RequestError("no URL is given");
    const nodes = [...new Set(urls.map(endpoint))];
    const {
      codec = json,
      sse = true,
      token,
      retryFirst = true,
      firstWaitMs = 250,
      maxWaitMs = 15_000,
      connectTimeoutMs = 5_000,
      quietMarginMs = 5_000,
      clockMs = 30_000,
      verifyBooks,
    } = options;
    this.core = new Core({
      urls: nodes,
      codec,
      sse: sse && nodes.some(httpBase),
      token: token === undefined ? "none" : typeof token === "function" ? "function" : "text",
      retryFirst,
      firstWaitMs,
      maxWaitMs,
      connectTimeoutMs,
      quietMarginMs,
      clockMs,
      verifyBooks,
      random: Math.random,
    });
    globalThis.addEventListener?.("online", this.online);
    // The program can add its listeners first.
    queueMicrotask(() => this.step((at) => this.core.isStopped || this.core.start(at)));
  }

  /**
   * Calls `listener` for each event of a type, of all subscriptions and of the connection; for each event of any type if that
   * is `"event"`. Returns a function that ends it.
   */
  on<Type extends ClientEvent["type"]>(
    type: Type,
    listener: Listener<Extract<ClientEvent, { type: Type }>>,
  ): () => void;
  on(type: "event", listener: Listener<ClientEvent>): () => void;
  on(type: string, listener: Listener<never>): () => void {
    return this.listeners.add(type, listener);
  }

  /**
   * Subscribes to topics and patterns. The subscription lasts over reconnects: topics go on from their last position, patterns
   * from that of each of their topics.
   */
  subscribe<T = unknown>(names: string | readonly string[], options: SubscribeOptions = {}): Subscription<T> {
    const list = typeof names === "string" ? [names] : names;
    const { from, speed } = options;
    if (speed !== undefined && (from === undefined || !(speed > 0 && Number.isFinite(speed)))) {
      throw new RequestError(`speed ${speed}: it is a number above 0, and needs \`from\``);
    }
    const subscription = new Subscription<T>(this as never, list, options.queue ?? 10_000);
    const wanted = { mode: options.mode, conflateMs: options.conflateMs, snapshot: options.snapshot ?? true };
    if (this.core.isStopped) {
      subscription.end(new ClosedError("the client is closed"));
      return subscription;
    }
    this.subscriptions.set(subscription as Subscription, wanted);
    this.covering.clear();
    this.ask(subscription as Subscription, this.most(list, wanted), options);
    return subscription;
  }

  /** `wanted`, or more if other subscriptions of these names want more: a name is subscribed once. */
  private most(names: readonly string[], wanted: Wanted): Wanted {
    let { mode, conflateMs } = wanted;
    if (mode === "snapshot") return wanted;
    for (const [other, { mode: otherMode, conflateMs: otherMs }] of this.subscriptions) {
      if (otherMode === "snapshot" || !names.some((name) => other.isNamed(name))) continue;
      if (mode === "every" || otherMode === "every") mode = "every";
      else if (mode === undefined || otherMode === undefined) mode = undefined;
      conflateMs = conflateMs === undefined || otherMs === undefined ? undefined : Math.min(conflateMs, otherMs);
    }
    return { ...wanted, mode, conflateMs: mode === "every" ? undefined : conflateMs };
  }

  private ask(subscription: Subscription, wanted: Wanted, options: SubscribeOptions): void {
    const { since = {}, from, speed, retry = true } = options;
    const reply: Reply = {
      deadline: retry ? Number.POSITIVE_INFINITY : this.deadline(),
      resolve: (results) => {
        subscription.grantedBy(results as Result[], since, wanted.snapshot);
        if (subscription.isOver) this.drop(subscription);
      },
      reject: (error) => {
        const again = retry && error instanceof UnansweredError && !subscription.isOver;
        if (again) queueMicrotask(() => this.ask(subscription, wanted, options));
        else this.drop(subscription, error);
      },
      synced: (error) => {
        if (!(retry && error instanceof UnansweredError)) subscription.syncedBy(error);
      },
    };
    const topics = subscription.names.map((name) => entryOf(name, since, { from, speed }, isPattern(name)));
    this.step((at) => this.core.subscribe(wanted, topics, reply, at));
  }

  private drop(subscription: Subscription, error?: Error): void {
    this.subscriptions.delete(subscription);
    this.covering.clear();
    subscription.end(error);
  }

  /**
   * Ends subscriptions by their names, as they were subscribed, whoever has them. There is one result for each name, in order.
   * Messages come until then.
   */
  async unsubscribe(names: readonly string[]): Promise<Result[]> {
    const results = (await this.request({ op: "unsubscribe", topics: [...names] })) as Result[];
    for (const { topic, error } of results) {
      if (error) continue;
      this.covering.clear();
      for (const subscription of this.subscriptions.keys()) if (subscription.forget(topic)) this.drop(subscription);
    }
    return results;
  }

  /** @internal Ends a subscription: unsubscribes the names that no other subscription has. */
  async endSubscription(subscription: Subscription): Promise<void> {
    const isOnce = this.subscriptions.get(subscription)?.mode === "snapshot";
    this.drop(subscription);
    const others = [...this.subscriptions].filter(([, { mode }]) => mode !== "snapshot").map(([other]) => other);
    const names = subscription.names.filter((name) => !others.some((other) => other.isNamed(name)));
    if (names.length === 0 || isOnce || this.core.isStopped) return;
    // It is kept until the broker is there: otherwise the names would be subscribed again.
    try {
      await this.request({ op: "unsubscribe", topics: names }, Number.POSITIVE_INFINITY);
    } catch (error) {
      // Nothing comes over a connection that is lost, and the names are not subscribed again.
      if (!(error instanceof UnansweredError || error instanceof ClosedError)) throw error;
    }
  }

  /** An order book that is kept and verified, and asks for a fresh one if it does not fit. */
  book(topic: string): LiveBook {
    const { LiveBook } = booksPart();
    return new LiveBook(topic, this.core.session.checker.watchBook(topic), this.subscribe(topic));
  }

  /** The book of a topic that matches the option `verifyBooks`. */
  bookOf(topic: string): Book | undefined {
    return this.core.session.checker.bookOf(topic);
  }

  /**
   * Publishes `data`, any JSON value, and waits for its place in the topic. A message with a `key` may be published again with
   * the same key if it is not known whether it was: the broker publishes it once.
   */
  async publish(topic: string, data: unknown, options: { key?: string } = {}): Promise<Published> {
    const { key } = options;
    const results = await this.request({ op: "publish", topic, data, key });
    const { epoch, seq, duplicate = false } = (results as Result[])[0] ?? {};
    if (epoch === undefined || seq === undefined) throw new TickwireError("the answer has no position");
    return { epoch, seq, duplicate };
  }

  /** Asks for a fresh snapshot of a subscribed topic. It comes as a message. */
  async resync(topic: string): Promise<void> {
    for (const subscription of this.coveringOf(topic)) subscription.expectSnapshot(topic);
    await this.request({ op: "resync", topic });
  }

  /** Replaces the connection's rights with those of `token`, which later connections show, too. */
  async auth(token: string): Promise<void> {
    await this.request({ op: "auth", token });
  }

  /** Reads the broker's clock. */
  async ping(): Promise<Clocks> {
    const clocks = (await this.request({ op: "ping" })) as Clocks;
    this.core.read(clocks);
    return clocks;
  }

  /** The best of the last readings of the broker's clock on this connection, if there is one. */
  get clocks(): Clocks | undefined {
    return this.core.clocks;
  }

  /** The broker's time now, in microseconds since the Unix epoch: `client.now() - message.ts` is a message's age. */
  now(): number {
    return Math.round(moment().wallUs + (this.core.clocks?.offsetUs ?? 0));
  }

  /** Stops for good. Subscriptions end, and requests that wait for answers fail with {@link ClosedError}. */
  close(): void {
    this.step(() => this.core.close());
  }

  private request(asking: Asking, deadline = this.deadline()): Promise<Result[] | Clocks> {
    return new Promise((resolve, reject) => {
      if (this.core.isStopped) {
        reject(new ClosedError("the client is closed"));
        return;
      }
      this.step((at) => this.core.request(asking, { deadline, resolve, reject }, at));
    });
  }

  private deadline(): number {
    return performance.now() + (this.options.requestTimeoutMs ?? 10_000);
  }

  /** Lets the core take one step, and does what it says. */
  private step(take: (at: Moment) => void): void {
    take(moment());
    // What an action makes happen, such as a request of a listener, is done after the actions before it.
    if (this.isActing) return;
    this.isActing = true;
    try {
      for (let action = this.core.actions.shift(); action; action = this.core.actions.shift()) this.act(action);
    } finally {
      this.isActing = false;
    }
    this.setTimer();
  }

  private act(action: Action): void {
    switch (action.do) {
      case "dial":
        this.dial(action);
        break;
      case "send":
        this.link?.send(action.payload, action.request);
        break;
      case "hang up":
        this.link?.close();
        this.link = undefined;
        break;
      case "tell":
        this.tell(action.event);
        break;
    }
  }

  private setTimer(): void {
    if (this.core.isStopped) {
      clearTimeout(this.timer);
      return;
    }
    const at = this.core.wakeAt;
    if (this.timerAt <= at) return; // it looks again then
    clearTimeout(this.timer);
    this.timerAt = at;
    this.timer = setTimeout(
      () => {
        this.timerAt = Number.POSITIVE_INFINITY;
        this.step((at) => this.core.tick(at));
      },
      Math.min(TIMER_MAX_MS, Math.ceil(at - performance.now())),
    );
  }

  private dial({ attempt, url, transport, requests }: Action & { do: "dial" }): void {
    const hearing: Hearing = {
      message: (payload) => this.step((at) => this.core.received(attempt, payload, at)),
      heard: (message) => this.step((at) => this.core.heard(attempt, message, at)),
      answered: (id, message) => this.step((at) => this.core.answered(id, message, at)),
      closed: (code, reason) => this.step((at) => this.core.closed(attempt, code, reason, at)),
      failed: (failure) => this.step((at) => this.core.failed(attempt, failure, at)),
      probed: () => this.step((at) => this.core.probed(attempt, at)),
    };
    let isGone = false;
    this.link = { send: () => {}, close: () => (isGone = true) };
    const open = async (token: string | undefined): Promise<void> => {
      if (isGone) return;
      try {
        const link = await this.open(url, transport, token, requests, hearing);
        if (isGone) link.close();
        else this.link = link;
      } catch (error) {
        // One of several URLs may have no server-sent events; a WebSocket that cannot be made for this URL never can.
        hearing.failed({ reason: (error as Error).message, isFinal: transport === "websocket" });
      }
    };
    const { token } = this.options;
    // The last token that `auth` accepted takes the place of the first, which may have expired. Without a first one it is
    // shown after the handshake, and by a stream in its place.
    const last = token !== undefined || transport !== "websocket" ? this.core.session.token : undefined;
    if (typeof token !== "function") open(last ?? token);
    else {
      Promise.resolve()
        .then(token)
        .then(open, (error) => hearing.failed({ reason: `no token: ${String(error)}` }));
    }
  }

  private async open(
    url: string,
    transport: Transport,
    token: string | undefined,
    requests: readonly Request[],
    hearing: Hearing,
  ): Promise<Link> {
    if (token !== undefined && !/^[!-~]+$/.test(token)) {
      throw new RequestError("the token must be ASCII without blanks");
    }
    if (transport !== "websocket") {
      const base = httpBase(url);
      if (base === undefined) throw new RequestError(`${url} has no server-sent events`);
      const { open } = await loadStreams();
      return open(fetch, base, token, transport === "sse" ? requests : undefined, hearing);
    }
    const socket = (this.options.WebSocket ?? globalThis.WebSocket) as WebSocketConstructor | undefined;
    if (!socket) throw new RequestError("no WebSocket: pass one as an option");
    const protocols = [(this.options.codec ?? json).subprotocol];
    if (token !== undefined) protocols.push(`tickwire.token.${base64url(token)}`);
    return openSocket(socket, url, protocols, hearing);
  }

  private tell(event: ClientEvent): void {
    this.listeners.tell(event);
    switch (event.type) {
      case "closed":
        this.closed(event.error);
        break;
      case "synced":
      case "recovered":
      case "refused":
        this.tellNamed(event);
        break;
      default:
        if (!("topic" in event) || event.topic === undefined) break;
        for (const subscription of this.coveringOf(event.topic)) {
          // The core asks for a fresh one.
          if (event.type === "broken" && event.error.promise === "book") subscription.expectSnapshot(event.topic);
          subscription.take(event, this.core.session.checker.known(event.topic)?.isConflated ?? false);
        }
    }
  }

  private tellNamed(event: Event<unknown> & { type: "synced" | "recovered" | "refused" }): void {
    const isSynced = event.type === "synced";
    for (const [subscription, { mode }] of [...this.subscriptions]) {
      const topics = (isSynced ? event.topics : [event.topic]).filter((name) => subscription.isNamed(name));
      if (topics.length === 0) continue;
      subscription.take(isSynced ? { type: "synced", topics } : event, false);
      if (isSynced) {
        subscription.syncedBy();
        if (mode === "snapshot") this.drop(subscription);
      } else if (event.type === "refused" && subscription.forget(event.topic)) {
        this.drop(subscription, event.error);
      }
    }
  }

  private coveringOf(topic: string): Subscription[] {
    let covering = this.covering.get(topic);
    if (!covering) {
      covering = [...this.subscriptions.keys()].filter((subscription) => subscription.covers(topic));
      this.covering.set(topic, covering);
    }
    return covering;
  }

  private closed(error: TickwireError | undefined): void {
    globalThis.removeEventListener?.("online", this.online);
    for (const subscription of [...this.subscriptions.keys()]) this.drop(subscription, error);
  }
}

/** The URL of a broker's WebSocket: one without a path means `/v1/ws`. */
function endpoint(text: string): string {
  let url: URL | undefined;
  try {
    url = new URL(text, globalThis.location?.href);
    url.protocol = url.protocol.replace("http", "ws");
  } catch {
    // What is no URL at all is refused below, too.
  }
  if (!url || !/^wss?:$/.test(url.protocol) || url.username || url.password) {
    // What may be a password is not shown.
    throw new RequestError(`${text.replace(/.*@/, "…@")}: write ws://HOST:PORT/v1/ws, without credentials`);
  }
  if (url.pathname === "/") url.pathname = "/v1/ws";
  url.hash = "";
  return url.href;
}

function base64url(text: string): string {
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
