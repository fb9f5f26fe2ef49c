// The core as a state machine: what happens and what time it is go in, what to do comes out. No socket, no clock.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { welcome } from "./broker.mjs";
import { built } from "./built.mjs";

const { json } = await built("codec");
const { Core } = await built("core");

/** A core with a clock of its own, and what it has done so far. */
class Bench {
  now = 0;
  done = [];

  constructor(settings = {}) {
    this.core = new Core({
      urls: ["ws://a/v1/ws"],
      codec: json,
      sse: false,
      token: "none",
      retryFirst: true,
      firstWaitMs: 100,
      maxWaitMs: 1_000,
      connectTimeoutMs: 5_000,
      quietMarginMs: 5_000,
      clockMs: 0,
      verifyBooks: undefined,
      random: () => 1,
      ...settings,
    });
    this.core.start(this.at);
    this.take();
  }

  get at() {
    return { now: this.now, wallUs: this.now * 1_000 };
  }

  take() {
    this.done = this.core.actions.splice(0);
    for (const action of this.done) if (action.do === "dial") this.attempt = action.attempt;
    return this.done;
  }

  does(what) {
    return this.done.filter((action) => action.do === what);
  }

  tells(type) {
    return this.does("tell").find(({ event }) => event.type === type)?.event;
  }

  hears(message) {
    this.core.received(this.attempt, JSON.stringify(message), this.at);
    return this.take();
  }

  /** Lets time pass until the core wants to be woken. */
  wake() {
    this.now = Math.max(this.now, this.core.wakeAt);
    this.core.tick(this.at);
    return this.take();
  }

  closed(code = 1006) {
    this.core.closed(this.attempt, code, "", this.at);
    return this.take();
  }

  failed(failure = { reason: "nobody is there" }) {
    this.core.failed(this.attempt, failure, this.at);
    return this.take();
  }

  subscribe(topics, wanted = { snapshot: true }) {
    const settled = {};
    const reply = {
      deadline: this.now + 10_000,
      resolve: (results) => Object.assign(settled, { results }),
      reject: (error) => Object.assign(settled, { error }),
      synced: (error) => Object.assign(settled, { synced: error ?? true }),
    };
    this.core.subscribe(wanted, topics, reply, this.at);
    this.take();
    return settled;
  }
}

const sent = (bench) => bench.does("send").map(({ request }) => request);

describe("connecting", () => {
  it("waits grow up to the bound, and a connection that lasted starts them again", () => {
    const bench = new Bench();
    const waits = [];
    for (let i = 0; i < 6; i += 1) {
      bench.failed();
      waits.push(bench.tells("failed").retryInMs);
      bench.wake();
    }
    assert.deepEqual(waits, [100, 200, 400, 800, 1_000, 1_000]);
    bench.hears(welcome());
    bench.closed();
    assert.equal(bench.tells("disconnected").retryInMs, 1_000, "it did not last");
    bench.wake();
    bench.hears(welcome());
    bench.now += 10_000;
    bench.closed();
    assert.equal(bench.tells("disconnected").retryInMs, 100);
  });

  it("each URL is tried once before a wait", () => {
    const bench = new Bench({ urls: ["ws://a/v1/ws", "ws://b/v1/ws", "ws://c/v1/ws"] });
    const waits = [];
    const urls = [];
    for (let i = 0; i < 6; i += 1) {
      bench.failed();
      waits.push(bench.tells("failed").retryInMs);
      if (waits.at(-1) > 0) bench.wake();
      urls.push(bench.does("dial")[0].url[5]);
    }
    assert.deepEqual(waits, [0, 0, 100, 0, 0, 200]);
    assert.deepEqual(urls, ["b", "c", "a", "b", "c", "a"]);
  });

  it("an attempt that takes too long is given up, and what it says later is ignored", () => {
    const bench = new Bench();
    const late = bench.attempt;
    bench.wake();
    assert.equal(bench.now, 5_000);
    assert.match(bench.tells("failed").loss.reason, /5000 ms/);
    assert.equal(bench.does("hang up").length, 1);
    bench.core.received(late, JSON.stringify(welcome()), bench.at);
    bench.core.closed(late, 4501, "", bench.at);
    assert.deepEqual(bench.take(), []);
  });

  it("a token that is not accepted is asked for twice more, and a text is not", () => {
    const text = new Bench({ token: "text" });
    text.failed({ reason: "401", status: 401 });
    assert.equal(text.tells("failed").retryInMs, undefined);
    assert.ok(text.tells("closed").error);
    const asking = new Bench({ token: "function" });
    const retries = [];
    for (let i = 0; i < 3; i += 1) {
      asking.failed({ reason: "401", status: 401 });
      retries.push(asking.tells("failed").retryInMs !== undefined);
      if (retries.at(-1)) asking.wake();
    }
    assert.deepEqual(retries, [true, true, false]);
  });

  it("a broker that was away for a moment is not taken for one that blocks WebSocket", () => {
    const bench = new Bench({ sse: true });
    const transports = [];
    const note = () => transports.push(...bench.does("dial").map(({ transport }) => transport));
    bench.failed();
    note();
    bench.core.probed(bench.attempt, bench.at);
    bench.take();
    note();
    bench.hears(welcome());
    assert.equal(bench.tells("connected").transport, "websocket");
    bench.now += 20_000;
    bench.closed();
    bench.wake();
    note();
    bench.failed();
    note();
    bench.failed({ reason: "nobody there either" });
    assert.equal(bench.tells("failed").loss.reason, "nobody is there", "why there is no WebSocket");
    bench.wake();
    note();
    bench.failed();
    bench.core.probed(bench.attempt, bench.at);
    bench.take();
    bench.failed();
    note();
    assert.deepEqual(transports, ["probe", "websocket", "websocket", "probe", "websocket", "sse"]);
  });

  it("a machine that slept asks whether the broker is still there before it gives the broker up", () => {
    const bench = new Bench();
    bench.hears(welcome());
    bench.now = 3_600_000;
    bench.core.tick(bench.at);
    assert.deepEqual(bench.take(), []);
    bench.hears({ op: "heartbeat", ts: 1 });
    bench.wake();
    assert.equal(bench.tells("disconnected").loss.type, "silent");
    assert.equal(bench.now, 3_600_000 + 35_000);
  });

  it("the network that comes back ends a wait, but not that of a drain", () => {
    const bench = new Bench();
    bench.hears(welcome());
    bench.closed();
    bench.core.hurry(bench.at);
    assert.equal(bench.core.wakeAt, bench.now);
    bench.wake();
    bench.hears(welcome());
    bench.hears({ op: "drain", reconnect_after_ms: 9_000, deadline_ms: 60_000 });
    bench.closed(4000);
    bench.core.hurry(bench.at);
    assert.equal(bench.core.wakeAt, bench.now + 9_000);
  });
});

describe("requests", () => {
  it("leave no faster than the broker takes them", () => {
    const bench = new Bench();
    bench.hears(welcome({ limits: { ops_per_s: 10, ops_burst: 5 } }));
    for (let i = 0; i < 12; i += 1) bench.subscribe([`t.${i}`]);
    const times = [];
    while (times.length < 4) {
      bench.wake();
      if (sent(bench).length > 0) times.push(bench.now);
    }
    assert.deepEqual(times, [100, 200, 300, 400]);
  });

  it("one that is not answered in time fails, and one that was not sent is not sent later", () => {
    const bench = new Bench();
    const waiting = bench.subscribe(["a"]);
    bench.failed();
    while (!waiting.error) {
      bench.wake();
      if (bench.does("dial").length > 0) bench.failed();
    }
    assert.match(waiting.error.message, /not sent/);
    while (bench.does("dial").length === 0) bench.wake();
    bench.hears(welcome());
    assert.deepEqual(sent(bench), []);
  });

  it("a drain lets requests under way finish, and takes no new ones", () => {
    const bench = new Bench();
    bench.hears(welcome());
    const asked = bench.subscribe(["a"]);
    bench.hears({ op: "drain", reconnect_after_ms: 50, deadline_ms: 60_000 });
    bench.wake();
    assert.deepEqual(bench.does("hang up"), [], "an answer is awaited");
    bench.subscribe(["b"]);
    assert.deepEqual(sent(bench), []);
    bench.hears({ op: "ack", id: 1, results: [{ topic: "a", epoch: "k", seq: 0, mode: "every" }] });
    assert.equal(asked.results.length, 1);
    assert.equal(bench.tells("disconnected").loss.type, "drained");
    bench.hears(welcome());
    assert.deepEqual(
      sent(bench).map(({ topics }) => topics),
      [[{ topic: "a", since: { epoch: "k", seq: 0 } }], ["b"]],
      "what was subscribed goes on, and what was asked for meanwhile follows",
    );
  });

  it("a stream of events is begun again with more topics, without a reconnect for the program", () => {
    const bench = new Bench({ sse: true });
    bench.subscribe(["a"]);
    bench.failed();
    bench.core.probed(bench.attempt, bench.at);
    bench.take();
    bench.failed();
    assert.deepEqual(
      bench.does("dial")[0].requests.map(({ topics }) => topics),
      [["a"]],
    );
    bench.hears(welcome());
    bench.hears({ op: "ack", id: 1, results: [{ topic: "a", epoch: "k", seq: 0, mode: "every" }] });
    bench.hears({ op: "update", topic: "a", seq: 1, ts: 1, data: 1 });
    const more = bench.subscribe(["b"]);
    bench.wake();
    const [{ transport, requests }] = bench.does("dial");
    assert.equal(transport, "sse");
    assert.deepEqual(
      requests.map(({ topics }) => topics),
      [[{ topic: "a", since: { epoch: "k", seq: 1 } }], ["b"]],
    );
    bench.hears(welcome());
    assert.equal(bench.tells("connected"), undefined);
    bench.hears({ op: "ack", id: requests[1].id, results: [{ topic: "b", epoch: "k", seq: 0, mode: "every" }] });
    assert.equal(more.results.length, 1);
  });
});

describe("books", () => {
  const book = (seq, checksum, op = "update") => ({
    op,
    topic: "book.A",
    epoch: "k",
    seq,
    ts: 1,
    data: { symbol: "A", bids: [["9.9", "1"]], asks: [["10.1", "2"]], checksum, time: 1 },
  });
  const GOOD = 629245110;
  const resyncs = (bench) => sent(bench).filter(({ op }) => op === "resync");
  const begun = () => {
    const bench = new Bench({ verifyBooks: "book.>" });
    bench.hears(welcome());
    bench.subscribe(["book.A"]);
    bench.hears({ op: "ack", id: 1, results: [{ topic: "book.A", epoch: "k", seq: 7, mode: "every" }] });
    return bench;
  };

  it("a broker whose snapshots never fit is asked once a second, and not as fast as it answers", () => {
    const bench = begun();
    const times = [];
    for (let i = 0; i < 4; i += 1) {
      bench.hears(book(7, 1, "snapshot"));
      while (resyncs(bench).length === 0) bench.wake();
      times.push(bench.now);
      const [{ id }] = resyncs(bench);
      bench.now += 1;
      bench.hears({ op: "ack", id, results: [{ topic: "book.A", epoch: "k", seq: 7 }] });
    }
    assert.deepEqual(times, [0, 1_000, 2_000, 3_000]);
  });

  it("a connection that is lost before the fresh snapshot does not leave the book stale for good", () => {
    const bench = begun();
    bench.hears(book(7, GOOD, "snapshot"));
    bench.hears({ op: "synced", id: 1 });
    bench.hears(book(8, 1));
    assert.equal(resyncs(bench).length, 1);
    bench.closed();
    while (bench.does("dial").length === 0) bench.wake();
    bench.hears(welcome());
    const [{ id }] = sent(bench);
    const result = { topic: "book.A", epoch: "k", seq: 8, mode: "every", recovered: true };
    bench.hears({ op: "ack", id, results: [result] });
    bench.hears({ op: "synced", id });
    while (resyncs(bench).length === 0) bench.wake();
    bench.hears({ op: "ack", id: resyncs(bench)[0].id, results: [{ topic: "book.A", epoch: "k", seq: 8 }] });
    bench.hears(book(8, GOOD, "snapshot"));
    assert.equal(bench.core.session.checker.bookOf("book.A").isStale, false);
  });
});

describe("clocks", () => {
  it("the offset is known to half of the round trip, and the best reading counts", () => {
    const bench = new Bench({ clockMs: 1_000 });
    bench.hears(welcome());
    const answer = (elapsedMs, aheadUs) => {
      bench.wake();
      const [{ id }] = sent(bench);
      const read = bench.now * 1_000 + (elapsedMs * 1_000) / 2 + aheadUs;
      bench.now += elapsedMs;
      bench.hears({ op: "pong", id, ts: read, received: read });
    };
    answer(20, 500_000);
    assert.deepEqual(bench.core.clocks, { broker: 510_000, offsetUs: 500_000, roundTripUs: 20_000 });
    answer(2, 499_000);
    assert.equal(bench.core.clocks.offsetUs, 499_000);
    answer(30, 600_000);
    assert.equal(bench.core.clocks.offsetUs, 499_000, "the shortest round trip is the most exact");
  });
});
