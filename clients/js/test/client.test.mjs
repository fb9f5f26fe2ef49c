// The client with a broker that says what a test tells it to: what the conformance cases do not reach.

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import WebSocket from "ws";
import { FakeBroker, welcome, within } from "./broker.mjs";
import { load } from "./play.mjs";
import { happens, readUntil } from "./tickwire.mjs";

const { connect } = await load();

describe("the client", () => {
  let broker;
  let client;
  let peer;
  const open = async (options) => {
    client = connect(broker.url, {
      WebSocket,
      sse: false,
      firstWaitMs: 1,
      maxWaitMs: 1,
      clockMs: 0,
      requestTimeoutMs: 600_000,
      ...options,
    });
    await accept();
  };
  const accept = async () => {
    peer = await broker.accept();
    peer.say(welcome());
  };
  const hear = async (op) => {
    const request = await peer.heard.next(`a ${op}`);
    assert.equal(request.op, op);
    return request;
  };
  const grant = async (seq = 0, more = {}) => {
    const { id, topics } = await hear("subscribe");
    const results = topics.map((entry) => ({ topic: entry.topic ?? entry, epoch: "k", seq, mode: "every", ...more }));
    peer.say({ op: "ack", id, results });
    return { id, topics };
  };
  const update = (topic, seq, data = seq) => peer.say({ op: "update", topic, seq, ts: 1, data });
  beforeEach(async () => {
    broker = await FakeBroker.start();
  });
  afterEach(async () => {
    client?.close();
    await broker.stop();
  });

  it("a publication goes out with its key, and its answer says whether it is a duplicate", async () => {
    await open();
    const published = client.publish("chat.lobby", { text: "hello" }, { key: "k1" });
    const request = await hear("publish");
    assert.deepEqual(request, {
      op: "publish",
      id: request.id,
      topic: "chat.lobby",
      data: { text: "hello" },
      key: "k1",
    });
    peer.say({ op: "ack", id: request.id, results: [{ topic: "chat.lobby", epoch: "k", seq: 7, duplicate: true }] });
    assert.deepEqual(await within(published, "the ack"), { epoch: "k", seq: 7, duplicate: true });
  });

  it("a subscription that was not answered is asked for again, and goes on as if nothing was", async () => {
    await open();
    const trades = client.subscribe("trade.A");
    await hear("subscribe");
    peer.raw.destroy();
    await accept();
    const { id } = await grant();
    update("trade.A", 1);
    peer.say({ op: "synced", id });
    const events = await readUntil(trades, ({ type }) => type === "synced", "the beginning");
    assert.deepEqual(
      events.map(({ type }) => type),
      ["granted", "message", "synced"],
    );
    await within(trades.synced, "the promise of it");
  });

  it("what comes before the first listener is told to it, in order and once", async () => {
    await open();
    const trades = client.subscribe("trade.A");
    await grant();
    await within(trades.granted, "the ack");
    const told = happens(client, "message", ({ seq }) => seq === 2);
    update("trade.A", 1);
    update("trade.A", 2);
    await told;
    const seen = [];
    trades.on("message", ({ seq }) => seen.push(seq));
    const third = happens(client, "message", ({ seq }) => seq === 3);
    update("trade.A", 3);
    await third;
    assert.deepEqual(seen, [1, 2, 3]);
  });

  it("a loop that is left ends its subscription, although the broker is away", async () => {
    await open();
    const trades = client.subscribe("trade.A");
    await grant();
    update("trade.A", 1);
    for await (const event of trades) if (event.type === "message") break;
    assert.ok(trades.isOver);
    const { id } = await hear("unsubscribe");
    peer.raw.destroy();
    assert.ok(id > 0);
    await accept();
    // Nothing is subscribed again: the first request is this one.
    const pong = client.ping();
    const ping = await hear("ping");
    peer.say({ op: "pong", id: ping.id, ts: 5, received: 5 });
    await within(pong, "the pong");
  });

  it("an end of a subscription whose answer is lost is an end all the same", async () => {
    await open();
    const trades = client.subscribe("trade.A");
    await grant();
    await within(trades.granted, "the ack");
    const ended = trades.unsubscribe();
    await hear("unsubscribe");
    peer.raw.destroy();
    await within(ended, "the end");
  });

  it("a subscription that asks for more of a name is what the broker is asked for", async () => {
    await open();
    client.subscribe("ticker.A", { mode: "every" });
    const first = await grant();
    client.subscribe("ticker.A", { conflateMs: 500 });
    const second = await hear("subscribe");
    assert.deepEqual([second.mode, second.conflate_ms], ["every", undefined], JSON.stringify(first));
  });

  it("a book that does not fit shows nothing, is asked for again, and its listener hears of both", async () => {
    await open();
    const book = client.book("book.A");
    const seen = [];
    book.onChange(() => seen.push(book.isStale));
    await grant(7);
    const data = { symbol: "A", bids: [["9.9", "1"]], asks: [["10.1", "2"]], checksum: 629245110, time: 1 };
    const snapshot = { op: "snapshot", topic: "book.A", epoch: "k", seq: 7, ts: 1, data };
    peer.say(snapshot);
    const broken = happens(client, "broken");
    update("book.A", 8, { ...data, checksum: 1 });
    const { error } = await broken;
    assert.deepEqual(
      [error.name, error.promise, error.evidence.fault],
      ["BrokenPromiseError", "book", "wrong_checksum"],
    );
    const { id } = await hear("resync");
    assert.ok(book.isStale);
    assert.deepEqual(book.topOf(5), { bids: [], asks: [] });
    const stale = happens(client, "stale");
    peer.say({ op: "ack", id, results: [{ topic: "book.A", epoch: "k", seq: 8 }] });
    peer.say({ ...snapshot, seq: 8 });
    peer.say({ op: "status", topic: "book.A", state: "stale", reason: "hole" });
    await stale;
    assert.deepEqual([book.isStale, book.doubt, book.position.seq], [false, "hole", 8]);
    assert.ok(seen.includes(true) && seen.at(-1) === false);
    const live = happens(client, "live");
    peer.say({ op: "status", topic: "book.A", state: "live" });
    await live;
    assert.equal(book.doubt, undefined);
  });

  it("what a listener throws does not end the client", async () => {
    await open();
    const reported = [];
    globalThis.reportError = (error) => reported.push(error.message);
    try {
      const trades = client.subscribe("trade.A");
      trades.on("message", () => {
        throw new Error("the program's own");
      });
      await grant();
      const second = happens(client, "message", ({ seq }) => seq === 2);
      update("trade.A", 1);
      update("trade.A", 2);
      await second;
      assert.deepEqual(reported, ["the program's own", "the program's own"]);
    } finally {
      delete globalThis.reportError;
    }
  });

  it("a topic with a name that means something to JavaScript is resumed like any other", async () => {
    await open();
    const all = client.subscribe(">");
    const { id, topics } = await hear("subscribe");
    assert.deepEqual(topics, [">"]);
    peer.say({ op: "ack", id, results: [{ topic: ">", matched: 2, mode: "every" }] });
    for (const topic of ["__proto__", "constructor"]) {
      peer.say({ op: "joined", topic, epoch: "k", seq: 0 });
      update(topic, 1);
    }
    await happens(client, "message", ({ topic }) => topic === "constructor");
    await readUntil(all, ({ type, topic }) => type === "message" && topic === "constructor", "the second topic");
    assert.deepEqual(Object.keys(all.positions()), ["__proto__", "constructor"]);
    peer.raw.destroy();
    await accept();
    const again = await hear("subscribe");
    const [{ since }] = again.topics;
    assert.deepEqual(Object.entries(since[0].seqs), [
      ["__proto__", 1],
      ["constructor", 1],
    ]);
  });

  it("URLs are read once, and a wrong one says what to write", () => {
    for (const [url, message] of [
      ["", /write ws:/],
      ["localhost:7400", /^localhost:7400: write/],
      [["ws://host/", "ftp://other/"], /^ftp:..other.: write/],
      ["ws://user:secret@host/", /^…@host.: .*credentials/],
      [[], /no URL/],
    ]) {
      assert.throws(() => connect(url, { WebSocket }), { name: "RequestError", message });
    }
  });
});
