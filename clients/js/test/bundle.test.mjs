// The browser bundle of `node build.mjs`. Its names are shortened: the conformance cases, and a browser with a real broker, show
// that this breaks nothing.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { after, afterEach, before, describe, it } from "node:test";
import { FakeBroker, welcome } from "./broker.mjs";
import { Browser, hasBrowser } from "./browser.mjs";
import { loadBundle, play } from "./play.mjs";
import { CuttableProxy, happens, stopAll, Tickwire, tellSkipped } from "./tickwire.mjs";

const cases = JSON.parse(readFileSync(new URL("../../conformance/cases.json", import.meta.url), "utf8"));
const lib = await loadBundle();
/** A browser does not tell why a handshake was refused, so the bundle does not read it. */
const isToldWhy = ({ dial }) => dial?.refuse !== undefined;

describe("conformance of the browser bundle", { concurrency: 8 }, () => {
  for (const given of cases) {
    if (!(given.codecs?.includes("json") ?? true) || given.steps.some(isToldWhy)) continue;
    it(given.name, () => play(lib, given, "json"));
  }
});

it("all classes and functions of the package are there", async () => {
  for (const name of Object.keys(await import("../dist/esm/index.js"))) assert.ok(lib[name], name);
});

describe("the evidence of a broken promise", () => {
  let broker;
  let client;
  before(async () => {
    broker = await FakeBroker.start();
  });
  after(async () => {
    client?.close();
    await broker.stop();
  });

  it("has the names that the package gives it", async () => {
    client = lib.connect(broker.url, { WebSocket: lib.WebSocket, sse: false, clockMs: 0 });
    const peer = await broker.accept();
    peer.say(welcome());
    const names = client.subscribe(["a", "b"]);
    const { id } = await peer.heard.next("a subscribe");
    const mismatch = happens(client, "broken");
    peer.say({ op: "ack", id, results: [{ topic: "a", epoch: "k", seq: 0 }] });
    assert.deepEqual((await mismatch).error.evidence, { op: "ack", id, index: 1, expected: "b" });
    await names.granted;
    const book = client.book("book.A");
    const { id: second } = await peer.heard.next("another subscribe");
    peer.say({ op: "ack", id: second, results: [{ topic: "book.A", epoch: "k", seq: 1 }] });
    await book.subscription.granted;
    const misfit = happens(client, "broken");
    const data = { symbol: "A", bids: [["9.9", "1"]], asks: [], checksum: 1, time: 1 };
    peer.say({ op: "snapshot", topic: "book.A", epoch: "k", seq: 1, ts: 1, data });
    const { computed, ...evidence } = (await misfit).error.evidence;
    assert.equal(typeof computed, "number");
    const shown = { op: "snapshot", topic: "book.A", epoch: "k", seq: 1, ts: 1 };
    assert.deepEqual(evidence, { ...shown, fault: "wrong_checksum", announced: 1 });
  });
});

const missing = hasBrowser() ? false : "the machine has no Chromium";
if (missing) tellSkipped("the browser bundle of clients/js in a page", missing);

describe("the browser bundle in a page", { skip: missing }, () => {
  let broker;
  let proxy;
  let browser;
  let server;
  /** Files that the pages' server does not have, as often as is said here. */
  const lacks = new Map();
  const asked = [];

  before(async () => {
    broker = await Tickwire.start({ args: ["--feed", "sim", "--symbols", "4", "--rate", "200"] });
    browser = await Browser.start();
    server = createServer(({ url }, response) => {
      const { pathname } = new URL(url, "http://localhost");
      asked.push(url);
      const times = lacks.get(pathname) ?? 0;
      lacks.set(pathname, times - 1);
      const script = (name) => `<script src="/${name}.min.js"></script>`;
      const pages = {
        "/": `<!doctype html><title>page</title>${script("tickwire")}${script("tickwire-books")}`,
        "/bare": `<!doctype html><title>page</title>${script("tickwire")}`,
      };
      response.setHeader("Content-Type", pathname in pages ? "text/html" : "text/javascript");
      response.statusCode = times > 0 ? 404 : 200;
      const file = new URL(`../dist${pathname}`, import.meta.url);
      response.end(pages[pathname] ?? (existsSync(file) ? readFileSync(file) : ""));
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  });
  afterEach(() => proxy?.stop());
  after(async () => {
    server?.closeAllConnections();
    server?.close();
    await stopAll(browser, broker);
  });

  /** A page with a client that is connected through the proxy. */
  const open = async (blocksWebSocket, page = "") => {
    asked.length = 0;
    proxy = await CuttableProxy.start(broker.port);
    proxy.blocksWebSocket = blocksWebSocket;
    const tab = await browser.open(`http://127.0.0.1:${server.address().port}/${page}`);
    await tab.evaluate(`{
      globalThis.client = tickwire.connect(${JSON.stringify(proxy.url)}, { firstWaitMs: 10, maxWaitMs: 100 });
      globalThis.broken = [];
      client.on("broken", ({ error }) => broken.push(error.message));
      globalThis.happens = (type, wanted = () => true) =>
        new Promise((resolve, reject) => {
          client.on(type, (event) => wanted(event) && resolve(event));
          setTimeout(() => reject(new Error(\`no event \${type}\`)), 25_000);
        });
      globalThis.connected = happens("connected");
      0;
    }`);
    return tab;
  };
  /** Keeps a book until it has gone on by 20 messages, and returns what it shows then. */
  const keepBook = `(async () => {
    const book = globalThis.book ??= client.book("book.BTC-USD");
    await book.subscription.synced;
    const begun = BigInt(book.position?.seq ?? 0);
    await new Promise((resolve) => {
      book.onChange(() => !book.isStale && BigInt(book.position.seq) >= begun + 20n && resolve());
    });
    const { bids, asks } = book.topOf(5);
    return { symbol: book.symbol, bids, asks, broken };
  })()`;
  const checkBook = ({ symbol, bids, asks, broken }) => {
    assert.equal(symbol, "BTC-USD");
    assert.deepEqual([bids.length, asks.length, broken], [5, 5, []]);
    const prices = [...bids.toReversed(), ...asks].map(([price]) => Number(price));
    assert.deepEqual(
      prices,
      prices.toSorted((a, b) => a - b),
      "bids below asks, best prices in the middle",
    );
  };

  it("a topic, a pattern and a book resume after the connection was cut", async () => {
    const tab = await open(false);
    const { transport } = await tab.evaluate("connected");
    assert.equal(transport, "websocket");
    await tab.evaluate(`client.subscribe(["trade.ETH-USD", "trade.*"]).synced`);
    checkBook(await tab.evaluate(keepBook));
    assert.ok(!asked.some((url) => url.includes("sse")), "the file for server-sent events is not loaded in vain");
    await tab.evaluate(`{
      globalThis.lost = happens("disconnected");
      globalThis.again = happens("connected");
      globalThis.recovered = ["trade.ETH-USD", "trade.*", "book.BTC-USD"].map((name) =>
        happens("recovered", ({ topic }) => topic === name),
      );
      0;
    }`);
    proxy.cut();
    await tab.evaluate("lost");
    proxy.mend();
    const { reconnects } = await tab.evaluate("again");
    assert.equal(reconnects, 1);
    const recovered = await tab.evaluate("Promise.all(recovered)");
    assert.deepEqual(
      recovered.map(({ topic, resumed, notResumed }) => [topic, resumed > 0, notResumed]),
      [
        ["trade.ETH-USD", true, 0],
        ["trade.*", true, 0],
        ["book.BTC-USD", true, 0],
      ],
    );
    checkBook(await tab.evaluate(keepBook));
  });

  it("a book is kept over server-sent events where WebSocket is blocked", async () => {
    const tab = await open(true);
    checkBook(await tab.evaluate(keepBook));
    const { transport } = await tab.evaluate("connected");
    assert.equal(transport, "sse");
    assert.ok(proxy.refused >= 2);
  });

  it("server-sent events also come if their file could not be loaded at first", async () => {
    lacks.set("/tickwire-sse.min.js", 1);
    const tab = await open(true);
    await tab.evaluate(`client.subscribe("ticker.*").synced`);
    const { transport } = await tab.evaluate("connected");
    assert.equal(transport, "sse");
    assert.ok(asked.filter((url) => url.includes("sse")).length >= 2, "the file was asked for again");
  });

  it("a page that lacks the file for books is told which one it needs", async () => {
    const tab = await open(false, "bare");
    const told = await tab.evaluate(`(() => {
      try {
        client.book("book.BTC-USD");
      } catch (error) {
        return [error.name, error.message];
      }
    })()`);
    assert.equal(told[0], "RequestError");
    assert.match(told[1], /tickwire-books\.min\.js of version \d/);
  });
});
