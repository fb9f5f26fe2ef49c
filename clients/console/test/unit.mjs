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

const { isFinal, matcher } = await load("feed.ts");
const { repeat } = await load("broker.ts");
const { tickerOf, tradeOf } = await load("marketdata.ts");
const { WatchStore } = await load("market.tsx");
const { Tap } = await load("topics.tsx");
const { holds, indented, summary, visible } = await load("text.ts");
const { Book } = await load("book.ts");
const { Candles } = await load("candles.ts");
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
