// Plays one conformance case: the broker's role by a FakeBroker, the user's by the client. See clients/conformance/README.md.

import assert from "node:assert/strict";
import WebSocket from "ws";
import { FakeBroker, Inbox, welcome, within } from "./broker.mjs";
import { built } from "./built.mjs";

const { encode } = await built("msgpack");

/** What the client under test can do. */
export const ABILITIES = ["urls", "sse", "end"];

/** Whether `got` matches `expected`, as the README defines it. */
export function matches(expected, got) {
  if (expected === null || typeof expected !== "object") return Object.is(expected, got);
  if (Array.isArray(expected)) {
    return Array.isArray(got) && got.length === expected.length && expected.every((part, i) => matches(part, got[i]));
  }
  const fields = Object.keys(expected);
  if (fields.length === 1 && expected.absent === true) return got == null;
  if (fields.length === 1 && Array.isArray(expected.any)) return expected.any.some((one) => matches(one, got));
  if (fields.length > 0 && fields.every((name) => name === "min" || name === "max")) {
    return typeof got === "number" && got >= (expected.min ?? -Infinity) && got <= (expected.max ?? Infinity);
  }
  if (got === null || typeof got !== "object") return false;
  return fields.every((name) => matches(expected[name], got[name]));
}

function mustMatch(expected, got, what) {
  const show = (value) => JSON.stringify(value, (_, part) => (typeof part === "bigint" ? String(part) : part));
  assert.ok(matches(expected, got), `${what}: expected ${show(expected)}, got ${show(got)}`);
}

/** Numbers beyond 2^53 - 1 as digits. */
function exact(value) {
  if (typeof value === "bigint") return String(value);
  if (Array.isArray(value)) return value.map(exact);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, exact(part)]));
}

/** A `subscribe` in the form in which it is compared. */
function normal(request) {
  if (request.op !== "subscribe") return exact(request);
  const entry = (topic) => {
    if (typeof topic === "string") return { topic };
    const { since } = topic;
    const isOfPattern = since && /[*>]/.test(topic.topic);
    const list = isOfPattern ? [since].flat().sort((a, b) => (a.epoch < b.epoch ? -1 : 1)) : since;
    return { ...topic, since: list };
  };
  return exact({ snapshot: true, ...request, topics: request.topics.map(entry) });
}

/** The canonical event for one of the client's; `undefined` if it is none. */
function canonical(event) {
  const { type, ...rest } = event;
  const retry = ({ retryInMs }) => ({
    retry: retryInMs === undefined ? "never" : retryInMs > 1 ? "told" : "backoff",
    ...(retryInMs !== undefined && { retry_ms: retryInMs }),
  });
  switch (type) {
    case "granted":
    case "status":
      return undefined;
    case "connected":
      return { event: "connected", reconnects: event.reconnects };
    case "recovered":
      return { event: "recovered", topic: event.topic, resumed: event.resumed, not_resumed: event.notResumed };
    case "message":
      return { ...rest, event: event.snapshot ? "snapshot" : "update" };
    case "broken":
      return { event: "violation", kind: event.error.promise, topic: event.topic };
    case "refused":
      return { event: "subscription_lost", topic: event.topic, code: event.error.code };
    case "draining":
      return { event: "draining", reconnect_after_ms: event.reconnectAfterMs };
    case "disconnected": {
      const { loss } = event;
      if (loss.type !== "closed") return { event: type, cause: loss.type, ...retry(event) };
      if (loss.code === 1006) return { event: type, cause: "broke", ...retry(event) };
      return { event: type, cause: "closed", ...(loss.code !== 1005 && { code: loss.code }), ...retry(event) };
    }
    case "failed":
      return { event: "connect_failed", ...(event.loss.status && { status: event.loss.status }), ...retry(event) };
    default:
      return { event: type, ...rest };
  }
}

/** The kind of an error that a request ended with. */
function kindOf(error) {
  switch (error.name) {
    case "RefusedError":
      return { kind: "refused", code: error.code };
    case "UnansweredError":
      return { kind: "disconnected" };
    case "RequestError":
      return { kind: "too_large" };
    default:
      return { kind: "closed" };
  }
}

class Play {
  constructor(lib, codec, given) {
    this.lib = lib;
    this.codec = codec;
    this.given = given;
    this.events = new Inbox();
    this.ids = new Map();
    this.requests = new Map();
    this.token = given.client.token_function;
    this.peer = undefined;
    /** The brokers by the names that steps have given to them. */
    this.names = new Map();
  }

  async start() {
    const { client, needs = [] } = this.given;
    this.brokers = [];
    for (let i = 0; i < (client.urls ?? 1); i += 1) this.brokers.push(await FakeBroker.start());
    const { connect, msgpack } = this.lib;
    this.client = connect(
      this.brokers.map((broker) => broker.url),
      {
        WebSocket: this.lib.WebSocket ?? WebSocket,
        ...(this.codec === "msgpack" && { codec: msgpack }),
        ...(client.token !== undefined && { token: client.token }),
        ...(client.token_function !== undefined && { token: () => this.token }),
        ...(client.books !== undefined && { verifyBooks: client.books }),
        ...(client.quiet_margin_ms !== undefined && { quietMarginMs: client.quiet_margin_ms }),
        sse: needs.includes("sse"),
        retryFirst: needs.includes("sse"),
        firstWaitMs: 1,
        maxWaitMs: 1,
        clockMs: 0,
        // No time of the client's own is a condition, however slow the machine is.
        connectTimeoutMs: 600_000,
        requestTimeoutMs: 600_000,
      },
    );
    this.client.on("event", (event) => {
      const found = canonical(event);
      if (found) this.events.push(exact(found));
    });
  }

  async stop() {
    this.client?.close();
    this.sse?.response.destroy();
    for (const broker of this.brokers ?? []) await broker.stop();
  }

  async run() {
    for (const [index, step] of this.given.steps.entries()) {
      try {
        await this.step(step);
      } catch (error) {
        throw new Error(`step ${index + 1}, ${JSON.stringify(step).slice(0, 300)}: ${error.message}`, { cause: error });
      }
    }
    await this.finish();
  }

  async finish() {
    if (!this.isClosed) {
      if (this.peer?.socket.readyState === WebSocket.OPEN) await this.settle();
      this.client.close();
      mustMatch({ event: "closed" }, await this.events.next("the client to stop"), "the end");
    }
    assert.deepEqual(this.events.waiting, [], "events that no step names");
    for (const broker of this.brokers) {
      assert.equal(broker.dials.waiting.length, 0, "the client dialled where no step says so");
      assert.equal(broker.requests.waiting.length, 0, "the client made requests of HTTP where no step says so");
    }
  }

  async settle() {
    // Brokers of other cases answer in the same process: what the client sends by itself comes before this ping.
    const pong = this.client.ping();
    pong.catch(() => {});
    const ping = await this.peer.heard.next("a ping");
    mustMatch({ op: "ping" }, ping, "a message that no step expects");
    this.peer.say({ op: "pong", id: ping.id, ts: 1, received: 1 });
    await within(pong, "the pong");
    assert.deepEqual(this.events.waiting, [], "events that no step names");
  }

  filled(value) {
    if (typeof value === "string" && value.startsWith("$")) {
      const ids = this.ids.get(value.slice(1));
      assert.ok(ids, `no id is kept as ${value}`);
      return ids[0];
    }
    if (Array.isArray(value)) return value.map((part) => this.filled(part));
    if (value === null || typeof value !== "object") return value;
    if (typeof value.repeat === "string" && typeof value.times === "number") return value.repeat.repeat(value.times);
    return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, this.filled(part)]));
  }

  say(message) {
    if (this.sse) this.sse.response.write(`event: ${message.op}\ndata: ${JSON.stringify(message)}\n\n`);
    else this.peer.say(message);
  }

  async step(step) {
    if (step.do) return this.act(step);
    const [kind] = Object.keys(step).filter((name) => `on_${name}` in this);
    assert.ok(kind, "a step that this runner does not know");
    return this[`on_${kind}`](step[kind], step);
  }

  async on_dial({ at, token, refuse, drop, sse, meanwhile }) {
    if (sse) return this.dialStream(this.brokers[0], sse, meanwhile);
    const { broker, dial } = await this.dialAt(at);
    const { request, socket } = dial;
    if (token !== undefined) mustMatch(token, tokenOf(request), "the token");
    const offered = (request.headers["sec-websocket-protocol"] ?? "").split(",").map((name) => name.trim());
    assert.ok(offered.includes(`tickwire.v1.${this.codec}`), `the client offers ${offered}`);
    if (drop) {
      socket.destroy();
    } else if (refuse) {
      const body = refuse.body === undefined ? "" : JSON.stringify(refuse.body);
      const headers = { "Content-Length": Buffer.byteLength(body), Connection: "close", ...refuse.headers };
      const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
      socket.end([`HTTP/1.1 ${refuse.status} Refused`, ...lines, "", body].join("\r\n"));
    } else {
      broker.dials.waiting.unshift(dial);
      this.peer = await broker.accept();
    }
  }

  /** The next connection to the broker of this name. If the name is new, to any that has none. */
  async dialAt(name) {
    const known = this.names.get(name);
    const brokers = known ? [known] : this.brokers.filter((broker) => ![...this.names.values()].includes(broker));
    const broker = await within(
      Promise.any(brokers.map((broker) => broker.dials.some().then(() => broker))),
      `the client to connect to ${name ?? "its URL"}`,
    );
    if (name !== undefined) this.names.set(name, broker);
    return { broker, dial: await broker.dials.next("the client to connect") };
  }

  /** Refuses WebSockets until the client asks for a stream. */
  async dialStream(broker, { topics }, meanwhile) {
    const refuse = async () => {
      for (;;) {
        const { socket } = await broker.dials.next("a handshake");
        socket.end(`HTTP/1.1 ${meanwhile.status} Refused\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
      }
    };
    refuse().catch(() => {}); // the stream has come
    for (;;) {
      const { request, response } = await broker.requests.next("the client to ask for a stream");
      const url = new URL(request.url, "http://localhost");
      if (url.pathname === "/v1/topics") {
        // The client looks whether the broker is there at all.
        response.end('{"topics":[]}');
        continue;
      }
      assert.equal(url.pathname, "/v1/sse");
      assert.deepEqual(url.searchParams.getAll("topic"), topics);
      response.writeHead(200, { "Content-Type": "text/event-stream" });
      this.sse = { request, response };
      return;
    }
  }

  on_welcome(fields) {
    this.say(welcome(fields));
  }

  async on_expect(expected, { as }) {
    const heard = await this.peer.heard.next("a message of the client");
    mustMatch(expected, normal(heard), "the client's message");
    if (as) this.ids.set(as, [heard.id]);
  }

  async on_grant(entries, { as }) {
    const left = [...entries];
    const ids = [];
    const ahead = new Map();
    while (left.length > 0) {
      const request = normal(await this.peer.heard.next("a subscribe"));
      if (request.op === "positions") {
        for (const { epoch, seqs } of request.since) ahead.set(epoch, { ...ahead.get(epoch), ...seqs });
        this.peer.say({ op: "ack", id: request.id, results: [] });
        continue;
      }
      assert.equal(request.op, "subscribe");
      const results = request.topics.map((entry) => {
        const at = left.findIndex(({ topic }) => topic === entry.topic);
        assert.ok(at >= 0, `${entry.topic} was asked for`);
        const [{ result, ...expected }] = left.splice(at, 1);
        mustMatch(
          expected,
          { ...request, ...entry, since: entry.since ?? sinceAhead(entry.topic, ahead) },
          entry.topic,
        );
        return { topic: entry.topic, ...result };
      });
      ids.push(request.id);
      this.peer.say({ op: "ack", id: request.id, results });
    }
    if (as) this.ids.set(as, ids);
  }

  on_synced(as) {
    for (const id of this.ids.get(as)) this.peer.say({ op: "synced", id });
  }

  on_say(message) {
    this.say(this.filled(message));
  }

  on_say_text(text) {
    this.peer.socket.send(text);
  }

  on_say_hex(hex) {
    this.peer.socket.send(Buffer.from(hex.replaceAll(" ", ""), "hex"));
  }

  on_say_msgpack(value) {
    this.peer.socket.send(encode(value));
  }

  on_raw(hex) {
    this.peer.raw.write(Buffer.from(hex.replaceAll(" ", ""), "hex"));
  }

  async on_close(code, { reason }) {
    if (code === null) this.peer.socket.close();
    else this.peer.socket.close(code, reason);
    await within(this.peer.ended, "the client to end the connection");
  }

  on_cut() {
    this.peer.raw.destroy();
  }

  async on_expect_end() {
    await within(this.peer.ended, "the client to end the connection");
  }

  async on_answer(as, { ok, error }) {
    const outcome = await within(this.requests.get(as), `the answer to ${as}`);
    if (ok !== undefined) mustMatch(ok, exact(outcome.ok ?? { failed: String(outcome.error) }), as);
    else mustMatch(error, outcome.error ? kindOf(outcome.error) : { succeeded: exact(outcome.ok) }, as);
  }

  async on_report(expected, { order }) {
    const left = [...expected];
    while (left.length > 0) {
      const got = await this.events.next(`one of the events ${JSON.stringify(left)}`);
      const at =
        order === "any"
          ? Math.max(
              0,
              left.findIndex((event) => matches(event, got)),
            )
          : 0;
      mustMatch(left[at], got, "the client's event");
      left.splice(at, 1);
      if (got.event === "closed") this.isClosed = true;
    }
  }

  async on_settle() {
    await this.settle();
  }

  async on_book({ topic, usable, seq, bids, asks }) {
    const book = this.client.bookOf(topic);
    assert.equal(book ? !book.isStale : false, usable, `whether the book of ${topic} is usable`);
    if (seq !== undefined) assert.equal(book.position?.seq, seq, "the book's number");
    const numbers = (levels) => levels.map((level) => level.map(this.lib.normalDecimal));
    if (!usable)
      assert.deepEqual([book?.bids ?? [], book?.asks ?? []], [[], []], "a book that is not known shows nothing");
    if (bids) assert.deepEqual(numbers(book.bids), numbers(bids));
    if (asks) assert.deepEqual(numbers(book.asks), numbers(asks));
  }

  act({ do: what, as, ...given }) {
    const promise = this.ask(what, given);
    const outcome = promise.then(
      (ok) => ({ ok: ok ?? {} }),
      (error) => ({ error }),
    );
    if (as) this.requests.set(as, outcome);
  }

  async ask(what, { topics, mode, conflate_ms: conflateMs, snapshot, topic, data, key, token }) {
    switch (what) {
      case "subscribe": {
        const since = {};
        const { from, speed } = topics.find((entry) => entry.from !== undefined) ?? {};
        for (const entry of topics) {
          if (typeof entry === "string" || !entry.since) continue;
          if (!Array.isArray(entry.since)) since[entry.topic] = entry.since;
          else for (const { epoch, seqs } of entry.since) for (const t in seqs) since[t] = { epoch, seq: seqs[t] };
        }
        const names = topics.map((entry) => entry.topic ?? entry);
        const options = {
          since,
          from,
          speed,
          retry: false,
          ...(mode && { mode }),
          ...(conflateMs !== undefined && { conflateMs }),
        };
        const subscription = this.client.subscribe(names, { ...options, ...(snapshot !== undefined && { snapshot }) });
        this.subscriptions ??= [];
        this.subscriptions.push(subscription);
        return subscription.granted;
      }
      case "unsubscribe":
        return this.client.unsubscribe(topics);
      case "publish":
        return this.client.publish(topic, data, key === undefined ? {} : { key });
      case "resync":
        return this.client.resync(topic);
      case "auth":
        return this.client.auth(token);
      case "ping":
        return this.client.ping();
      case "set_token":
        this.token = token;
        return undefined;
      case "close":
        this.client.close();
        return undefined;
      default:
        throw new Error(`this runner does not know how to ${what}`);
    }
  }
}

/** The positions that were sent ahead for a pattern. */
function sinceAhead(pattern, ahead) {
  if (!/[*>]/.test(pattern) || ahead.size === 0) return undefined;
  return [...ahead].map(([epoch, seqs]) => ({ epoch, seqs })).sort((a, b) => (a.epoch < b.epoch ? -1 : 1));
}

/** The token that a handshake shows. */
function tokenOf({ headers }) {
  const bearer = /^Bearer (.*)$/.exec(headers.authorization ?? "");
  if (bearer) return bearer[1];
  const shown = /(?:^|[ ,])tickwire\.token\.([\w-]*)/.exec(headers["sec-websocket-protocol"] ?? "");
  return shown ? Buffer.from(shown[1], "base64url").toString() : undefined;
}

/** Plays `given` in `codec` with the client `lib`. Throws what is wrong. */
export async function play(lib, given, codec) {
  const one = new Play(lib, codec, given);
  try {
    await one.start();
    await one.run();
  } finally {
    await one.stop();
  }
}

/** The client, with the fault `planted`, if there is one. */
export async function load(planted = "") {
  const [index, { msgpack }, { normalDecimal }] = [
    await built("index", planted),
    await built("msgpack", planted),
    await built("book", planted),
  ];
  return { ...index, msgpack, normalDecimal };
}

/** A WebSocket that does not tell why it failed, as in a browser. */
class Silent extends WebSocket {
  constructor(...given) {
    super(...given);
    this.on("error", () => {});
  }
}

/** The browser bundle, whose names are shortened, as far as a case can see it. */
export async function loadBundle() {
  await import("../dist/tickwire.min.js");
  await import("../dist/tickwire-books.min.js");
  const { normalDecimal } = await built("book");
  return { ...globalThis.tickwire, normalDecimal, WebSocket: Silent };
}
