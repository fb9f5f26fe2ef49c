// The client with a real broker.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import WebSocket from "ws";
import { within } from "./broker.mjs";
import { folderOf } from "./built.mjs";
import { load } from "./play.mjs";
import { CuttableProxy, happens, keyHash, readUntil, Tickwire } from "./tickwire.mjs";

const { connect, msgpack, BrokenPromiseError } = await load();
const FAST = { WebSocket, firstWaitMs: 5, maxWaitMs: 50, connectTimeoutMs: 60_000, requestTimeoutMs: 600_000 };
const isUpdate = (event) => event.type === "message" && !event.snapshot;

describe("with a broker without a market", () => {
  let broker;
  const clients = [];
  const open = (urls, options) => {
    const client = connect(urls, { ...FAST, ...options });
    client.on("broken", ({ error }) => assert.fail(error.message));
    clients.push(client);
    return client;
  };

  before(async () => {
    broker = await Tickwire.start({
      args: ["--anonymous-publish", ">"],
      config: `
[[kinds]]
pattern = "short.>"
kind = "event"
history = 4
[auth]
anonymous_subscribe = ["trade.>", "ticker.>", "chat.>", "short.>", "sse.>", "old.>"]
`,
    });
  });
  after(async () => {
    for (const client of clients) client.close();
    await broker?.stop();
  });

  for (const codec of [undefined, msgpack]) {
    const name = codec ? "MessagePack" : "JSON";
    it(`what is published is what comes, in ${name}`, async () => {
      const client = open(broker.url, codec && { codec });
      const topic = `trade.exact-${name}`;
      const trades = client.subscribe(topic);
      await within(trades.granted, "the ack");
      const values = [
        { price: "61837.63", size: "0.00000001" },
        [1, -1, 2 ** 40, 9007199254740991, 9007199254740993n, 18446744073709551615n, -9223372036854775808n],
        [0.1, 1e300, -0.5, 0.30000000000000004],
        "ümlaut 🎵",
        null,
        true,
        { nested: { deep: [[[[1]]]] }, "": "empty name" },
      ];
      for (const value of values) await client.publish(topic, value);
      const events = await readUntil(trades, (event) => event.seq === values.length, "the last value");
      const got = events.filter(({ type }) => type === "message").map(({ data }) => data);
      assert.deepEqual(got, values);
    });
  }

  it("a cut connection resumes topics and patterns with nothing missing", async (t) => {
    const proxy = await CuttableProxy.start(broker.port);
    t.after(() => proxy.stop());
    const client = open(proxy.url);
    const all = client.subscribe(["trade.cut.*", "trade.cut-own"]);
    await within(all.granted, "the ack");
    const first = happens(client, "message", ({ topic, seq }) => topic === "trade.cut-own" && seq === 1);
    for (const topic of ["trade.cut.A", "trade.cut.B", "trade.cut-own"]) await broker.publish(topic, 1);
    await first;
    const gone = happens(client, "disconnected");
    proxy.cut();
    await gone;
    for (const n of [2, 3]) {
      for (const topic of ["trade.cut.A", "trade.cut.B", "trade.cut-own"]) await broker.publish(topic, n);
    }
    await broker.publish("trade.cut.C", 1); // made while the client is away
    const restored = [happens(client, "synced"), happens(client, "recovered", ({ topic }) => topic === "trade.cut.*")];
    proxy.mend();
    const last = ({ topic, seq }) => topic === "trade.cut.A" && seq === 4;
    const [, recovered] = await Promise.all(restored);
    assert.deepEqual([recovered.resumed, recovered.notResumed], [2, 1]);
    await broker.publish("trade.cut.A", 4);
    const events = await readUntil(all, last, "the last message");
    const numbers = {};
    for (const { type, topic, seq } of events) {
      if (type === "message") (numbers[topic] ??= []).push(seq);
      assert.notEqual(type, "gap");
    }
    assert.deepEqual(numbers, {
      "trade.cut.A": [1, 2, 3, 4],
      "trade.cut.B": [1, 2, 3],
      "trade.cut-own": [1, 2, 3],
      "trade.cut.C": [1],
    });
  });

  it("what the history lost is named by a gap", async (t) => {
    const proxy = await CuttableProxy.start(broker.port);
    t.after(() => proxy.stop());
    const client = open(proxy.url);
    const short = client.subscribe("short.A");
    await within(short.granted, "the ack");
    const first = happens(client, "message");
    await broker.publish("short.A", 1);
    await first;
    const gone = happens(client, "disconnected");
    proxy.cut();
    await gone;
    for (let n = 2; n <= 9; n += 1) await broker.publish("short.A", n);
    const synced = happens(client, "synced");
    proxy.mend();
    await synced;
    await broker.publish("short.A", 10);
    const events = await readUntil(short, ({ seq }) => seq === 10, "the last message");
    const gap = events.find(({ type }) => type === "gap");
    assert.deepEqual([gap.from, gap.to, gap.reason], [2, 9, "history"]);
  });

  it("another program goes on from stored positions", async () => {
    const first = open(broker.url);
    const trades = first.subscribe("trade.store.*");
    await within(trades.granted, "the ack");
    for (const n of [1, 2, 3]) await broker.publish("trade.store.A", n);
    await broker.publish("trade.store.B", 1);
    const reader = trades[Symbol.asyncIterator]();
    let seen = 0;
    while (seen < 2) {
      const { value } = await within(reader.next(), "a message");
      if (value.type === "message") seen += 1;
    }
    // Two messages of A were taken; what waits in the queue was not.
    const stored = JSON.parse(JSON.stringify(trades.positions()));
    assert.equal(stored["trade.store.A"].seq, 2);
    first.close();
    const second = open(broker.url);
    const rest = second.subscribe("trade.store.*", { since: stored });
    const events = await readUntil(rest, ({ type }) => type === "synced", "the end of the replay");
    const messages = events.filter(({ type }) => type === "message").map(({ topic, seq }) => `${topic}:${seq}`);
    assert.deepEqual(messages.sort(), ["trade.store.A:3", "trade.store.B:1"]);
  });

  it("a program that is too slow is told what it will not get, and the newest of a value comes", async () => {
    const client = open(broker.url);
    const both = client.subscribe(["trade.slow", "ticker.slow"], { queue: 10 });
    await within(both.granted, "the ack");
    const last = happens(client, "message", ({ topic, seq }) => topic === "trade.slow" && seq === 40);
    for (let n = 1; n <= 40; n += 1) {
      await broker.publish("ticker.slow", n);
      await broker.publish("trade.slow", n);
    }
    await last;
    const events = await readUntil(both, ({ topic, seq }) => topic === "trade.slow" && seq === 40, "the last trade");
    const trades = events.filter(({ topic }) => topic === "trade.slow");
    let next = 1;
    for (const event of trades) {
      if (event.type === "gap") {
        assert.deepEqual([event.from, event.reason], [next, "consumer"]);
        next = event.to + 1;
      } else if (event.type === "message") {
        assert.equal(event.seq, next);
        next += 1;
      }
    }
    assert.equal(next, 41, "every message came or was named");
    assert.ok(trades.some(({ type }) => type === "gap"));
    const values = events.filter(({ type, topic }) => type === "message" && topic === "ticker.slow");
    assert.equal(values.at(-1).seq, 40, "the newest value came");
    assert.ok(values.length < 40, "older ones did not wait");
  });

  it("two subscriptions of one name share it and end apart", async () => {
    const client = open(broker.url);
    await broker.publish("chat.shared", "first");
    const one = client.subscribe("chat.shared");
    await within(one.synced, "the first subscription");
    const two = client.subscribe(["chat.shared", "chat.other"]);
    await within(two.synced, "the second subscription");
    await within(one.unsubscribe(), "the end of the first");
    await broker.publish("chat.shared", "second");
    const events = await readUntil(two, isUpdate, "the second message");
    const messages = (list) => list.filter(({ type }) => type === "message").map(({ data }) => data);
    assert.deepEqual(messages(events), ["first", "second"]);
    const ofOne = [];
    for await (const event of one) ofOne.push(event);
    assert.deepEqual(
      messages(ofOne),
      ["first"],
      "the other's snapshot repeats nothing, and nothing comes after the end",
    );
  });

  it("what is refused is told, and does not end the others", async () => {
    const client = open(broker.url);
    const some = client.subscribe(["chat.allowed", "secret.A", "bad..topic"]);
    const results = await within(some.granted, "the ack");
    assert.deepEqual(
      results.map(({ error }) => error?.code),
      [undefined, "forbidden", "bad_topic"],
    );
    const none = client.subscribe("secret.B");
    await within(none.granted, "the ack");
    await assert.rejects(
      async () => {
        for await (const event of none) assert.notEqual(event.type, "message");
      },
      { name: "RefusedError", code: "forbidden" },
    );
    await assert.rejects(client.publish("chat.allowed", Number.NaN), { name: "RequestError" });
    await assert.rejects(client.publish("chat.allowed", undefined), { name: "RequestError" });
    await assert.rejects(client.publish("chat.allowed", "\ud800"), { name: "RefusedError", code: "bad_request" });
  });

  it("a program that closes its client ends, and waits for none of the client's times", async () => {
    const program = `
      import { connect } from ${JSON.stringify(`${await folderOf()}/index.js`)};
      import WebSocket from ${JSON.stringify(import.meta.resolve("ws"))};
      const client = connect(${JSON.stringify(broker.url)}, { WebSocket });
      await client.subscribe("trade.ends").synced;
      client.close();
    `;
    const child = spawn(process.execPath, ["--input-type=module", "-e", program], { stdio: "inherit" });
    // The longest of these times is 35 s, far beyond the deadline of a test.
    assert.equal(await within(new Promise((resolve) => child.on("exit", resolve)), "the program to end"), 0);
  });

  it("the broker's clock is read", async () => {
    const client = open(broker.url);
    const clocks = await client.ping();
    assert.ok(Number.isInteger(clocks.offsetUs) && clocks.roundTripUs >= 0);
    assert.ok(client.clocks.roundTripUs <= clocks.roundTripUs);
    const { seq } = await client.publish("chat.clock", 1);
    assert.equal(seq, 1);
  });

  it("a value is read once", async () => {
    const client = open(broker.url);
    await broker.publish("ticker.once", { last: "1" });
    const values = [];
    for await (const event of client.subscribe("ticker.once", { mode: "snapshot" })) {
      if (event.type === "message") values.push(event.data);
    }
    assert.deepEqual(values, [{ last: "1" }]);
  });

  it("where WebSocket is blocked, server-sent events take its place", async (t) => {
    const proxy = await CuttableProxy.start(broker.port);
    t.after(() => proxy.stop());
    proxy.blocksWebSocket = true;
    await broker.publish("sse.A", "old");
    const client = open(proxy.url);
    const first = client.subscribe("sse.A");
    const { transport } = await happens(client, "connected");
    assert.equal(transport, "sse");
    await within(first.synced, "the first value");
    assert.deepEqual((await client.publish("sse.A", "new")).seq, 2);
    // Another subscription begins another stream, which goes on where the first was.
    const second = client.subscribe(["sse.B", "sse.A"]);
    await within(second.granted, "the ack of the second");
    await client.publish("sse.A", "newest");
    await client.publish("sse.B", 1);
    const events = await readUntil(second, ({ topic, seq }) => topic === "sse.B" && seq === 1, "the second topic");
    assert.ok(events.every(({ type }) => type !== "gap"));
    const ofFirst = await readUntil(first, ({ data }) => data === "newest", "the newest message");
    const messages = ofFirst.filter(({ type }) => type === "message").map(({ data }) => data);
    assert.deepEqual(messages, ["old", "new", "newest"]);
    // A cut is resumed by the stream's id.
    const gone = happens(client, "disconnected");
    proxy.cut();
    await gone;
    await broker.publish("sse.A", "while away");
    proxy.mend();
    const back = await readUntil(first, ({ data }) => data === "while away", "the missed message");
    assert.ok(back.every(({ type }) => type !== "gap" && type !== "unresumed"));
    // A topic that may not be read is refused as over a WebSocket.
    const secret = client.subscribe("secret.A");
    const [result] = await within(secret.granted, "the refusal");
    assert.equal(result.error.code, "forbidden");
    assert.ok(proxy.refused > 0);
    client.close();
  });

  it("a client without a connection takes requests, and a closed one fails them", async (t) => {
    const proxy = await CuttableProxy.start(broker.port);
    t.after(() => proxy.stop());
    proxy.cut();
    const client = open(proxy.url, { sse: false });
    const failed = happens(client, "failed");
    const published = client.publish("chat.later", 1);
    await failed;
    proxy.mend();
    assert.equal((await within(published, "the ack")).seq, 1);
    client.close();
    await assert.rejects(client.publish("chat.later", 2), { name: "ClosedError" });
    const over = client.subscribe("chat.later");
    assert.ok(over.isOver);
  });
});

describe("with brokers that stop", () => {
  it("a drain is obeyed: the client goes to the next broker when it was told, and a restart is a gap of another epoch", async () => {
    const brokers = await Promise.all(
      [0, 1].map(() =>
        Tickwire.start({
          args: ["--anonymous-publish", ">"],
          config: "[drain]\nwindow_ms = 200\ndeadline_ms = 2000\n",
        }),
      ),
    );
    const client = connect(
      brokers.map(({ url }) => url),
      FAST,
    );
    try {
      const { url: at } = await happens(client, "connected");
      const [first, other] = at === brokers[0].url ? brokers : brokers.toReversed();
      const trades = client.subscribe("trade.A");
      await within(trades.granted, "the ack");
      const second = happens(client, "message", ({ seq }) => seq === 2);
      for (const n of [1, 2]) await first.publish("trade.A", n);
      for (const n of [1, 2, 3, 4]) await other.publish("trade.A", n);
      await second;
      const told = happens(client, "draining");
      const ended = happens(client, "disconnected");
      const moved = [happens(client, "connected"), happens(client, "synced")];
      first.drain();
      await told;
      const { loss, retryInMs } = await ended;
      assert.ok(loss.type === "drained" || loss.code === 4000, JSON.stringify(loss));
      assert.notEqual(retryInMs, undefined);
      const [{ url }] = await Promise.all(moved);
      assert.equal(url, other.url);
      await other.publish("trade.A", 5);
      const events = await readUntil(
        trades,
        ({ seq, data }) => seq === 5 && data === 5,
        "a message of the other broker",
      );
      const gap = events.find(({ type }) => type === "gap");
      assert.deepEqual([gap.reason, gap.to], ["epoch", 4]);
    } finally {
      client.close();
      for (const broker of brokers) await broker.stop();
    }
  });

  it("the clients of a killed broker are at another one at once, whatever the waits are", async () => {
    const brokers = await Promise.all([0, 1].map(() => Tickwire.start({ args: ["--anonymous-publish", ">"] })));
    const waiting = { ...FAST, firstWaitMs: 3_600_000, maxWaitMs: 3_600_000 };
    const clients = [];
    try {
      // Less than once in a billion runs all of them begin at the same one.
      for (let i = 0; i < 40; i += 1) {
        const client = connect(
          [...brokers, ...brokers].map(({ url }) => url),
          waiting,
        );
        clients.push({ client, trades: client.subscribe("trade.A"), at: (await happens(client, "connected")).url });
      }
      const [killed, left] = brokers;
      const moving = clients.filter(({ at }) => at === killed.url);
      assert.ok(moving.length > 0 && moving.length < clients.length);
      const moved = moving.flatMap(({ client }) => [
        happens(client, "disconnected", ({ retryInMs }) => retryInMs === 0),
        happens(client, "connected", ({ url }) => url === left.url),
        happens(client, "synced"),
      ]);
      killed.child.kill("SIGKILL");
      await Promise.all(moved);
      const came = clients.map(({ client }) => happens(client, "message", ({ data }) => data === "left"));
      await left.publish("trade.A", "left");
      await Promise.all(came);
    } finally {
      for (const { client } of clients) client.close();
      for (const broker of brokers) await broker.stop();
    }
  });
});

describe("with a broker that asks for tokens", () => {
  const SECRET = "a secret of thirty-two bytes or more";
  const jwt = (claims) => {
    const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const text = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
    return `${text}.${createHmac("sha256", SECRET).update(text).digest("base64url")}`;
  };
  let broker;
  before(async () => {
    const folder = await import("node:os").then(({ tmpdir }) => tmpdir());
    const file = join(folder, `tickwire-js-secret-${process.pid}`);
    writeFileSync(file, SECRET);
    broker = await Tickwire.start({
      config: `
[auth]
required = true
[auth.jwt]
algorithms = ["HS256"]
secret_file = "${file}"
[[auth.keys]]
name = "desk"
sha256 = "${keyHash("the-desk-key-that-nobody-guesses")}"
subscribe = [">"]
publish = [">"]
`,
    });
  });
  after(() => broker?.stop());

  it("a token that expires is asked for again, and nothing is missed", async () => {
    const desk = connect(broker.url, { ...FAST, token: "the-desk-key-that-nobody-guesses" });
    let asked = 0;
    const token = async () => {
      asked += 1;
      // The first ends at once, the next lasts.
      const exp = Math.floor(Date.now() / 1_000) + (asked === 1 ? 2 : 3_600);
      return jwt({ sub: "reader", exp, tickwire: { subscribe: ["trade.>"] } });
    };
    const client = connect(broker.url, { ...FAST, token });
    try {
      const trades = client.subscribe("trade.A");
      await within(trades.granted, "the ack");
      await desk.publish("trade.A", 1);
      const { loss } = await happens(client, "disconnected");
      assert.equal(loss.code, 4003);
      await desk.publish("trade.A", 2);
      const events = await readUntil(trades, ({ seq }) => seq === 2, "the second message");
      assert.deepEqual(
        events.filter(({ type }) => type === "message").map(({ seq }) => seq),
        [1, 2],
      );
      assert.equal(asked, 2);
    } finally {
      client.close();
      desk.close();
    }
  });

  it("a wrong token ends the client with the reason", async () => {
    const client = connect(broker.url, { ...FAST, token: "wrong" });
    const published = client.publish("trade.A", 1);
    const { error } = await happens(client, "closed");
    assert.match(error.message, /401/);
    await assert.rejects(published, { name: "ClosedError" });
  });
});

describe("with the simulated market", () => {
  let broker;
  before(async () => {
    broker = await Tickwire.start({ args: ["--feed", "sim", "--symbols", "4", "--rate", "500"] });
  });
  after(() => broker?.stop());

  for (const codec of [undefined, msgpack]) {
    it(`books are verified at each change, in ${codec ? "MessagePack" : "JSON"}`, async () => {
      const client = connect(broker.url, { ...FAST, ...(codec && { codec }) });
      client.on("broken", ({ error }) => assert.ok(!(error instanceof BrokenPromiseError), error.message));
      try {
        const book = client.book("book.BTC-USD");
        await within(book.subscription.synced, "the snapshot");
        let changes = 0;
        await within(
          new Promise((resolve) => {
            book.onChange(() => {
              changes += 1;
              if (changes === 100) resolve();
            });
          }),
          "a hundred changes",
        );
        assert.equal(book.isStale, false);
        const { bids, asks } = book.topOf(3);
        assert.equal(bids.length, 3);
        assert.ok(Number(bids[0][0]) > Number(bids[1][0]) && Number(asks[0][0]) < Number(asks[1][0]));
        assert.ok(Number(bids[0][0]) < Number(asks[0][0]));
        assert.equal(book.symbol, "BTC-USD");
      } finally {
        client.close();
      }
    });
  }
});
