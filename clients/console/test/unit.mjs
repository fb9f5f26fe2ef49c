// Tests of the page's parts that need no browser. The sources are bundled first, as Node.js runs no TypeScript.
import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { crc32 } from "node:zlib";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));

/** What draws needs a browser, and is not called here. */
const noDrawing = {
  name: "no-drawing",
  setup(made) {
    const contents = "export const Plot = null, Rows = null, CandleChart = null, WHOLE = [], BYTES = [];";
    made.onResolve({ filter: /(plot|rows|candlechart)\.tsx$/ }, ({ path }) => ({ path, namespace: "nothing" }));
    made.onLoad({ filter: /.*/, namespace: "nothing" }, () => ({ contents }));
  },
};

/** The exports of a source file. */
const load = (file) => loadFrom({ entryPoints: [`src/${file}`] });

/** The exports of what `input`, an option of esbuild, names. */
async function loadFrom(input) {
  const { outputFiles } = await build({
    ...input,
    absWorkingDir: join(here, ".."),
    bundle: true,
    write: false,
    format: "esm",
    platform: "neutral",
    mainFields: ["module", "main"],
    jsx: "automatic",
    jsxImportSource: "preact",
    plugins: [noDrawing],
  });
  return import(`data:text/javascript,${encodeURIComponent(outputFiles[0].text)}`);
}

/** Stores ask for the next frame, which never comes here. */
globalThis.requestAnimationFrame = () => 0;
globalThis.cancelAnimationFrame = () => {};

const { WebSocketFeed, isFinal, matcher } = await load("feed.ts");
const { repeat } = await load("broker.ts");
const { candleOf, tickerOf, tradeOf } = await load("marketdata.ts");
const { SymbolStore, WatchStore } = await load("market.tsx");
const { Tap } = await load("topics.tsx");
const { holds, indented, summary, visible } = await load("text.ts");
const { Book } = await load("book.ts");
const { Candles, PublishedCandles } = await load("candles.ts");
const { HealthStore } = await load("health.tsx");
const { why } = await load("sessions.tsx");

test("a pattern matches the topics that the broker says", () => {
  for (const [pattern, topic, matches] of [
    ["trade.BTC", "trade.BTC", true],
    ["trade.BTC", "trade.BTC.EU", false],
    ["trade.*", "trade.BTC", true],
    ["trade.*", "trade", false],
    ["trade.*", "trade.BTC.EU", false],
    ["trade.*.EU", "trade.BTC.EU", true],
    ["trade.>", "trade.BTC.EU", true],
    ["trade.>", "trade", false],
    [">", "a", true],
    ["*", "a.b", false],
  ]) {
    assert.equal(matcher(pattern)(topic), matches, `${pattern} ${topic}`);
  }
});

test("a client that broke a rule does not come back, any other does", () => {
  const final = [1000, 1001, 1002, 1006, 1008, 1009, 1011, 4000, 4002, 4003, 4499, 4500, 4501, 4999].filter(isFinal);
  assert.deepEqual(final, [1002, 1008, 1009, 4500, 4501, 4999]);
});

const levels = (text) => text.split(" ").filter(Boolean).map((level) => level.split("@"));
/** A message about a book with the checksum of this text. */
const change = (bids, asks, text) => ({ symbol: "A", bids: levels(bids), asks: levels(asks), checksum: crc32(text), time: 1 });

test("a book is that of the broker, or says that it is not", () => {
  const book = new Book();
  // The example of PROTOCOL.md.
  assert.ok(book.apply(change("", "0.05005@0.000005 100.5@2", "5005510052"), true));
  assert.ok(book.apply(change("0.04@1", "100.5@0", "5005541"), false));
  assert.deepEqual(book.asks.levels, [["0.05005", "0.000005"]]);
  // A level in the middle, a change of size, and a level that was never there.
  assert.ok(book.apply(change("0.03@5 0.035@2 0.04@3", "7@0", "500554335235"), false));
  assert.deepEqual(book.bids.levels.map(([price]) => price), ["0.04", "0.035", "0.03"]);
  assert.ok(!book.apply(change("0.01@1", "", "0"), false), "another checksum");
  assert.ok(!book.whole);
  assert.ok(book.apply(change("1@1", "", "0"), false), "nothing is said about changes before the next snapshot");
  assert.ok(book.apply(change("1@1", "2@1", "2111"), true) && book.whole);
});

test("candles are made of trades, and a late one belongs to the last", () => {
  const candles = new Candles(5);
  const trade = (seconds, price, size = "1") => candles.add({ price, size, side: "buy", time: seconds * 1e6 });
  trade(10, "100");
  trade(14, "90", "2");
  trade(15, "95");
  trade(13, "200");
  assert.deepEqual(candles.list, [
    { time: 10, open: 100, high: 100, low: 90, close: 90, volume: 3 },
    { time: 15, open: 95, high: 200, low: 95, close: 200, volume: 2 },
  ]);
});

const COLUMNS = ["at", "deliveries", "owed", "delivered", "conflated", "gapped", "dropped", "pending", "latency_10", "latency_20", "latency_more"];
const page = (...rows) => ({ every_ms: 2_000, columns: COLUMNS, rows });

test("health says how many per second, and within which time", () => {
  const health = new HealthStore();
  health.take(page([1e6, 100, 5, 5, 0, 0, 0, 0, 0, 0, 0], [3e6, 300, 9, 8, 1, 0, 0, 0, 90, 9, 1]));
  assert.deepEqual(health.perSecond("deliveries"), [null, 100]);
  assert.deepEqual([0.5, 0.9, 0.95, 0.99].map((part) => health.latency(part)[1]), [10, 10, 20, 20]);
  assert.equal(health.latency(0.999)[1], 20, "beyond the last bound, that bound is shown");
  assert.equal(health.remains(), 0);
  health.take(page([5e6, 300, 9, 8, 1, 0, 0, 0, 90, 9, 1]));
  assert.deepEqual(health.latency(0.5), [null, 10, 10]);
  assert.equal(health.rows.length, 3);
});

test("a ledger that does not add up twice in a row is reported, a row within a flush is not", () => {
  const health = new HealthStore();
  const row = (at, ...ledger) => [at, 0, ...ledger, 0, 0, 0];
  health.take(page(row(1, 5, 5, 0, 0, 0, 0), row(2, 9, 8, 0, 0, 0, 0)));
  assert.equal(health.remains(), 0);
  health.take(page(row(3, 9, 8, 0, 0, 0, 0)));
  assert.equal(health.remains(), 1);
  health.take(page(row(4, 9, 12, 0, 0, 0, -3), row(5, 9, 12, 0, 0, 0, -3)));
  assert.equal(health.remains(), -3, "more outcomes than messages");
});

test("the rows of another broker take the place of those before", () => {
  const health = new HealthStore();
  health.take(page([1, 0, 500, 0, 0, 0, 0, 0, 0, 0, 0]));
  health.take(page([9, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0]));
  assert.deepEqual(health.times(), [9 / 1e6]);
});

test("a session is slow for a reason", () => {
  const session = { waiting_bytes: 0, lagging_since: null, stalled_since: null, gapped: 0, subscriptions: 9, subscriptions_behind: 4 };
  for (const [facts, text] of [
    [{}, "keeps up"],
    [{ waiting_bytes: 2_048 }, "2 KiB wait to be written"],
    [{ lagging_since: 1e6 }, "4 of 9 topics behind since 4 s"],
    [{ lagging_since: 1e6, stalled_since: 4e6 }, "takes no byte for 1 s; 4 of 9 topics behind since 4 s"],
    [{ gapped: 3 }, "it has missed messages"],
  ]) {
    assert.equal(why({ ...session, ...facts }, 5e6), text);
  }
});

const TICKER = { symbol: "A-USD", last: "1.5", bid: "1", ask: "2", change_pct: "-0.1", volume: "10" };
const TRADE = { symbol: "A-USD", price: "1.5", size: "2", side: "buy", time: 1 };

test("data that is no ticker or no trade was taken for one", () => {
  assert.deepEqual(tickerOf("ticker.A-USD", TICKER), TICKER);
  assert.equal(tickerOf("ticker.A-USD", { ...TICKER, symbol: "<b>" }).symbol, "A-USD", "the topic names the symbol");
  for (const data of [null, 5, "text", [], {}, { ...TICKER, last: 1.5 }, { ...TICKER, bid: null }, { ...TICKER, volume: "1e9" }, { ...TICKER, change_pct: "9".repeat(200) }]) {
    assert.equal(tickerOf("ticker.A-USD", data), undefined, JSON.stringify(data));
  }
  assert.equal(tradeOf(TRADE).price, "1.5");
  for (const data of [null, 5, [], { ...TRADE, price: 1.5 }, { ...TRADE, price: "abc" }, { ...TRADE, price: "9".repeat(20) }, { ...TRADE, size: "-1" }, { ...TRADE, side: "hold" }, { ...TRADE, time: "now" }, { ...TRADE, time: -1 }, { ...TRADE, time: 1.5 }]) {
    assert.equal(tradeOf(data), undefined, JSON.stringify(data));
  }
});

test("a message that is no ticker left the watch list without a symbol, and nobody knew why", () => {
  const watch = new WatchStore();
  assert.equal(watch.empty, "Waiting for prices…");
  for (const [topic, data] of [["ticker.X", null], ["ticker.A-USD", TICKER], ["ticker.Y", {}]]) watch.take({ topic, data });
  assert.deepEqual(watch.sorted(), ["A-USD"]);
  assert.equal(watch.busiest(), "A-USD");
  assert.equal(watch.reason, "Left out: 2 messages that are no tickers, the last one in ticker.Y");
  watch.clear();
  assert.deepEqual([watch.sorted(), watch.reason], [[], ""], "another broker has other symbols");
});

const framed = (data) => `{"op":"update","topic":"a.b","seq":1,"ts":2,"data":${data}}`;

test("a number of many digits was shown as another number", () => {
  for (const number of ["12345678901234567890", "0.10", "1e308", "1.0000000000000000001"]) {
    assert.equal(summary(framed(number), 200), number);
    assert.ok(indented(framed(`{"n":${number}}`)).includes(`"n": ${number}\n`), number);
  }
  assert.equal(summary(framed('"0123456789"'), 5), '"0123');
  assert.ok(holds(framed('"seq"'), "seq") && !holds(framed('"a"'), "seq"), "only the data is searched");
});

test("text that hides or turns around what follows it was shown as it was", () => {
  const hidden = "\u202eexe.txt\u2066\u200b\ufeff\u0085\u2028\u{e0041}";
  assert.equal(visible(hidden), "\\u202eexe.txt\\u2066\\u200b\\ufeff\\u0085\\u2028\\udb40\\udc41");
  assert.equal(JSON.parse(visible(JSON.stringify(hidden))), hidden);
  for (const text of ["\u05e9\u05dc\u05d5\u05dd", "می\u200cخواهم", "👩\u200d💻", "{\n\t}"]) assert.equal(visible(text), text);
});

test("JSON gets a line for each member", () => {
  const long = "x".repeat(3_000_000);
  for (const value of [null, 1, "a", [], {}, [[]], { a: {} }, [1, [2, { b: [3] }], "}],{["], { 'q"\\': "\\\"" }, { __proto__x: { y: 1 } }, [long]]) {
    assert.equal(indented(JSON.stringify(value)), JSON.stringify(value, undefined, 2));
  }
});

/** A tap, and the handler by which its messages come. */
function tapped(t) {
  let handler;
  const subscribe = (pattern, options, given) => {
    handler = given;
    return { close: () => undefined };
  };
  const tap = new Tap("", ">", { status: {}, subscribe, close: () => undefined });
  t.after(() => tap.close());
  const come = (seq, text, topic = "a") => handler.data({ op: "update", topic, seq, ts: 1, data: 0, text });
  return { tap, come, reset: () => handler.reset() };
}

test("a tap of large messages kept a thousand of them", (t) => {
  const { tap, come } = tapped(t);
  const large = "x".repeat(60_000);
  for (let seq = 1; seq <= 1_500; seq += 1) come(seq, large);
  const characters = () => tap.messages.reduce((sum, { text }) => sum + text.length, 0);
  assert.ok(characters() >= 8_000_000 - 60_000 && characters() < 16_000_000, `${characters()}`);
  for (let seq = 1_501; seq <= 9_000; seq += 1) come(seq, "small");
  assert.ok(tap.messages.length >= 1_000 && tap.messages.length < 2_000, `${tap.messages.length}`);
  assert.deepEqual([tap.messages.at(-1).seq, tap.seen], [9_000, 9_000]);
});

test("the rate of a tap stayed when its messages stopped", (t) => {
  const { tap, come } = tapped(t);
  for (let seq = 1; seq <= 7; seq += 1) come(seq, "text");
  tap.second();
  assert.equal(tap.perSecond, 7);
  tap.second();
  assert.equal(tap.perSecond, 0);
});

test("after a restart of the broker the numbers of before were shown", (t) => {
  const { tap, come, reset } = tapped(t);
  come(900, "text");
  reset();
  come(3, "text", "b");
  assert.deepEqual([...tap.seqs], [["b", 3]]);
});

test("a broker that could not be reached for a minute was asked again after twenty", async (t) => {
  let now = 0;
  t.mock.method(performance, "now", () => now);
  for (const [answered, expected] of [[true, 1_200_000], [false, 2_000]]) {
    const asked = new Promise((resolve) => {
      globalThis.document = { hidden: false };
      globalThis.window = { setTimeout: (_, ms) => resolve(ms) };
    });
    const end = repeat(2_000, async () => {
      now += 60_000;
      return answered;
    });
    assert.equal(await asked, expected);
    end();
  }
});

test("a change between the drawing of a component and its effects was never drawn", async (t) => {
  const contents = 'export { Store, useStore } from "./src/frame.ts"; export { h, render } from "preact";';
  const { Store, useStore, h, render } = await loadFrom({ stdin: { contents, resolveDir: join(here, "..") } });
  // Frames are drawn when the test says so. Effects that wait for the time after a frame do not come at all.
  const frames = [];
  t.mock.method(globalThis, "requestAnimationFrame", (draw) => frames.push(draw));
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const store = new Store();
  const drawn = [];
  let value = "before";
  const Shown = () => {
    useStore(store);
    drawn.push(value);
    return null;
  };
  render(h(Shown), { nodeType: 1, childNodes: [] });
  value = "after";
  store.touch();
  for (const draw of frames.splice(0)) draw(performance.now());
  // The component is drawn again in a microtask of its own.
  await null;
  await null;
  assert.deepEqual(drawn, ["before", "after"]);
});

/** A candle as the broker publishes it: its prices are `low` to `low + 3`. */
const candle = (second, low, trades, closed = true) => ({
  symbol: "A",
  interval: "1s",
  start: second * 1e6,
  open: `${low + 1}`,
  high: `${low + 3}`,
  low: `${low}`,
  close: `${low + 2}.5`,
  volume: "1.5",
  trades,
  closed,
});

test("only a candle is taken for one", () => {
  const good = candle(60, 10, 3);
  assert.deepEqual(candleOf(good).start, 60e6);
  for (const wrong of [null, "x", { ...good, open: 1 }, { ...good, high: "1e5" }, { ...good, volume: "-1" }, { ...good, closed: 1 }]) {
    assert.equal(candleOf(wrong), undefined);
  }
  assert.equal(candleOf({ ...good, start: -1 }), undefined);
  assert.equal(candleOf({ ...good, trades: 1.5 }), undefined);
  assert.equal(candleOf({ ...good, low: "99999999999999999" }), undefined);
});

test("published candles are joined, in whatever order they come, and closed ones stay", () => {
  const live = new PublishedCandles(5);
  live.add([candle(12, 30, 4, false)]);
  const first = live.list[0];
  live.add([candle(12, 31, 5, false)]);
  assert.equal(live.list[0], first, "the chart goes on with its last candle");
  // The history comes later and has older ones, one that is known already, and an older state of the last one.
  live.add([candle(3, 10, 2), candle(4, 20, 2), candle(7, 5, 1), candle(12, 30, 4, false)]);
  assert.deepEqual(
    live.list.map(({ time, open, high, low, close, volume }) => [time, open, high, low, close, volume]),
    [
      [0, 11, 23, 10, 22.5, 3],
      [5, 6, 8, 5, 7.5, 1.5],
      [10, 32, 34, 31, 33.5, 1.5],
    ],
  );
  live.add([candle(12, 40, 6)]);
  live.add([candle(12, 50, 7, false)]);
  assert.equal(live.list.at(-1).low, 40);
  for (let second = 100; second < 2_500; second += 1) live.add([candle(second, 1, 1)]);
  assert.ok(live.list.length <= 401, `${live.list.length}`);
});

/** The store of a symbol, the handlers of its topics, and what it asks for. */
function symbolStore(histories = {}) {
  const handlers = new Map();
  const subscribe = (pattern, options, handler) => {
    handlers.set(pattern, handler);
    handler.reset();
    handler.synced?.();
    return { close: () => handlers.delete(pattern) };
  };
  const asked = [];
  const history = (topic) => {
    asked.push(topic);
    return Promise.resolve(histories[topic] ?? []);
  };
  const resynced = [];
  const store = new SymbolStore({ subscribe, resync: (topic) => resynced.push(topic) }, "A", history);
  return { store, handlers, asked };
}

const update = (topic, seq, data) => ({ op: "update", topic, seq, ts: 1, data, text: "" });
const dealt = (second, price) => ({ price: `${price}`, size: "2", side: "buy", time: second * 1e6 });
const settled = () => new Promise((resolve) => setImmediate(resolve));

test("a chart shows the stored candles as soon as it is opened, and goes on with live ones", async () => {
  const stored = [candle(1, 10, 2), candle(2, 20, 2), candle(7, 30, 1, false), { nonsense: 1 }];
  const { store, handlers, asked } = symbolStore({ "candle.1s.A": stored, "candle.1m.A": [candle(60, 5, 9)] });
  handlers.get("trade.A").data(update("trade.A", 1, dealt(8, 99)));
  await settled();
  assert.deepEqual(asked, ["candle.1s.A"]);
  const times = () => store.candles.list.map(({ time, low }) => [time, low]);
  assert.deepEqual(times(), [[0, 10], [5, 30]], "trades add nothing to the broker's own candles");
  handlers.get("candle.1s.A").data(update("candle.1s.A", 9, candle(7, 29, 2, false)));
  handlers.get("candle.1s.A").data(update("candle.1s.A", 10, candle(11, 40, 1, false)));
  assert.deepEqual(times(), [[0, 10], [5, 29], [10, 40]]);
  store.setSeconds(60);
  await settled();
  assert.ok(!handlers.has("candle.1s.A") && handlers.has("candle.1m.A"));
  assert.deepEqual(times(), [[60, 5]]);
  // A gap is filled from what is stored.
  handlers.get("candle.1m.A").gap({ op: "gap", topic: "candle.1m.A", from: 2, to: 5, reason: "slow" });
  await settled();
  assert.deepEqual(asked, ["candle.1s.A", "candle.1m.A", "candle.1m.A"]);
  store.close();
  assert.equal(handlers.size, 0);
});

test("without candles of the broker, those of the trades are shown", async () => {
  const { store, handlers } = symbolStore();
  await settled();
  for (const [second, price] of [[1, 10], [2, 12], [9, 11]]) {
    handlers.get("trade.A").data(update("trade.A", second, dealt(second, price)));
  }
  assert.deepEqual(store.candles.list.map(({ time, high }) => [time, high]), [[0, 12], [5, 11]]);
  assert.equal(store.trades.length, 3);
  store.setSeconds(1);
  assert.equal(store.candles.list.length, 3);
});

test("gaps, ends and next lives of trades and books are said", () => {
  const { store, handlers } = symbolStore();
  const [trades, book] = [handlers.get("trade.A"), handlers.get("book.A")];
  trades.data(update("trade.A", 1, dealt(1, 10)));
  trades.gap({ op: "gap", topic: "trade.A", from: 2, to: 4, reason: "slow" });
  assert.equal(store.tradesProblem, "3 trades are missing");
  trades.end({ op: "end", topic: "trade.A", seq: 4, reason: "deleted" });
  assert.equal(store.tradesProblem, "the trades have ended (deleted)");
  trades.joined({ op: "joined", topic: "trade.A", epoch: "e-1", seq: 0 });
  assert.deepEqual([store.tradesProblem, store.trades.length], ["", 1]);

  book.data({ ...update("book.A", 1, change("9@1", "10@2", "10291")), op: "snapshot" });
  assert.equal(store.book.bids.levels.length, 1);
  book.status({ op: "status", topic: "book.A", state: "stale", reason: "hole" });
  assert.equal(store.problem, "the book cannot be relied on: hole");
  book.status({ op: "status", topic: "book.A", state: "live" });
  assert.equal(store.problem, "");
  book.end({ op: "end", topic: "book.A", seq: 1, reason: "expired" });
  assert.deepEqual([store.problem, store.book.bids.levels.length], ["the book has ended (expired)", 0]);
  book.joined({ op: "joined", topic: "book.A", epoch: "e-1", seq: 0 });
  assert.equal(store.problem, "");
});

test("a symbol whose ticker has ended is not listed", () => {
  const watch = new WatchStore();
  const ticker = { symbol: "A", last: "1", bid: "1", ask: "2", change_pct: "0", volume: "1" };
  for (const name of ["A", "B"]) watch.take(update(`ticker.${name}`, 1, ticker));
  watch.end("ticker.A");
  assert.deepEqual(watch.sorted(), ["B"]);
});

test("messages reach the handlers of their topics, and that a reader has caught up says nothing of a book", () => {
  const sent = [];
  let socket;
  globalThis.location = { origin: "http://127.0.0.1:1" };
  globalThis.window = globalThis;
  globalThis.WebSocket = class {
    constructor() {
      socket = this;
    }
    send(text) {
      sent.push(JSON.parse(text));
    }
    close() {}
  };
  const feed = new WebSocketFeed("", () => {});
  const come = (message) => socket.onmessage({ data: JSON.stringify(message) });
  const told = [];
  const note = (name) => (message) => told.push([name, message.topic, message.state ?? message.seq]);
  const handler = { reset: () => told.push(["reset"]), data: note("data"), gap: note("gap"), joined: note("joined"), end: note("end"), status: note("status") };
  feed.subscribe("candle.1s.A", { every: true }, handler);
  come({ op: "welcome", session: "0-1" });
  assert.deepEqual(sent[0].topics, ["candle.1s.A"]);
  assert.equal(sent[0].mode, "every");
  const messages = [
    { op: "update", topic: "candle.1s.A", seq: 1, ts: 1, data: 1 },
    { op: "update", topic: "candle.1s.B", seq: 1, ts: 1, data: 1 },
    { op: "end", topic: "candle.1s.A", epoch: "e", seq: 2, reason: "deleted" },
    { op: "joined", topic: "candle.1s.A", epoch: "e-1", seq: 0 },
    { op: "status", topic: "candle.1s.A", state: "stale" },
    { op: "status", topic: "candle.1s.A", state: "caught_up", seq: 4 },
    { op: "status", topic: "candle.1s.A", state: "live" },
  ];
  // What comes before the answer belongs to an earlier subscription.
  messages.forEach(come);
  assert.deepEqual(told, [["reset"]]);
  come({ op: "ack", id: sent[0].id, results: [{ topic: "candle.1s.A", epoch: "e", seq: 0 }] });
  messages.forEach(come);
  assert.deepEqual(told.slice(1), [
    ["data", "candle.1s.A", 1],
    ["end", "candle.1s.A", 2],
    ["joined", "candle.1s.A", 0],
    ["status", "candle.1s.A", "stale"],
    ["status", "candle.1s.A", "live"],
  ]);
  feed.close();
});
