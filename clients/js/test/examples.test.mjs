// The examples, as their pages run in a browser, with the bundle of `node build.mjs` and a real broker.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { after, before, describe, it } from "node:test";
import { Browser, hasBrowser } from "./browser.mjs";
import { CuttableProxy, stopAll, Tickwire, tellSkipped } from "./tickwire.mjs";

const bundle = new URL("../dist/tickwire.min.js", import.meta.url);
const missing = hasBrowser() ? false : "the machine has no Chromium";
if (missing) tellSkipped("examples of clients/js", missing);

describe("examples", { skip: missing }, () => {
  let broker;
  let browser;
  const page = (name, query) =>
    browser.open(`${new URL(`../examples/${name}.html`, import.meta.url)}?${new URLSearchParams(query)}`);

  before(async () => {
    assert.ok(existsSync(bundle), "node build.mjs comes first");
    broker = await Tickwire.start({
      args: ["--feed", "sim", "--symbols", "4", "--rate", "200", "--anonymous-publish", "chat.>"],
    });
    browser = await Browser.start();
  });
  after(() => stopAll(browser, broker));

  it("the ticker wall shows every ticker, and its prices move", async () => {
    const wall = await page("ticker-wall", { url: broker.url });
    await wall.until("document.querySelectorAll('div').length === 4");
    const text = await wall.evaluate("document.body.innerText");
    assert.match(text, /BTC-USD\s+\d/);
    await wall.until(`document.body.innerText !== ${JSON.stringify(text)}`);
  });

  it("the order book is drawn, verified, and goes on", async () => {
    const book = await page("order-book", { url: broker.url, symbol: "BTC-USD" });
    await book.until(
      "/verified/.test(document.querySelector('p').textContent) && document.querySelectorAll('tr').length === 20",
    );
    const prices = await book.evaluate(
      "[...document.querySelectorAll('tr td:first-child')].map((td) => Number(td.textContent))",
    );
    assert.deepEqual(
      prices,
      prices.toSorted((a, b) => b - a),
      "asks above bids, best prices in the middle",
    );
    const text = await book.evaluate("document.querySelector('p').textContent");
    await book.until(`document.querySelector('p').textContent !== ${JSON.stringify(text)}`);
  });

  it("two guests of a chat room read each other, also after one's connection was cut", async (t) => {
    const proxy = await CuttableProxy.start(broker.port);
    t.after(() => proxy.stop());
    const [ann, bob] = [
      await page("chat-room", { url: broker.url, room: "test" }),
      await page("chat-room", { url: proxy.url, room: "test" }),
    ];
    const say = (guest, name, text) =>
      guest.evaluate(`{
        document.querySelector('#name').value = ${JSON.stringify(name)};
        document.querySelector('#text').value = ${JSON.stringify(text)};
        document.querySelector('form').requestSubmit();
      }`);
    const hears = (guest, text) =>
      guest.until(`document.querySelector('ol').innerText.includes(${JSON.stringify(text)})`);
    await say(ann, "ann", "hello");
    await hears(bob, "ann: hello");
    await hears(ann, "ann: hello");
    proxy.cut();
    await hears(bob, "the connection is lost");
    await say(ann, "ann", "are you there?");
    await hears(ann, "ann: are you there?");
    proxy.mend();
    await hears(bob, "ann: are you there?");
    await say(bob, "bob", "again");
    await hears(ann, "bob: again");
    await hears(bob, "bob: again");
    const lines = await bob.evaluate("[...document.querySelectorAll('li:not(.note)')].map((li) => li.textContent)");
    assert.deepEqual(lines, ["ann: hello", "ann: are you there?", "bob: again"]);
  });

  it("each page that the README names opens by the name there", async () => {
    const readme = readFileSync(new URL("../../../README.md", import.meta.url), "utf8");
    const named = [...readme.matchAll(/^# +examples\/([a-z-]+)\.html(?:\?(\S+))? /gm)];
    const works = {
      "ticker-wall": "document.querySelectorAll('div').length === 4",
      "order-book": "/verified/.test(document.querySelector('p').textContent)",
      "chat-room": "document.querySelector('form') !== null",
    };
    assert.deepEqual(named.map(([, name]) => name).toSorted(), Object.keys(works).toSorted());
    for (const [, name, query = ""] of named) {
      const shown = await page(name, { url: broker.url, ...Object.fromEntries(new URLSearchParams(query)) });
      await shown.until(works[name]);
    }
  });

  it("a page whose network blocks WebSocket goes on with server-sent events", async (t) => {
    const proxy = await CuttableProxy.start(broker.port);
    t.after(() => proxy.stop());
    proxy.blocksWebSocket = true;
    const wall = await page("ticker-wall", { url: proxy.url });
    await wall.until("document.querySelectorAll('div').length === 4");
    assert.ok(proxy.refused >= 2);
  });

  it("the bundle works in a worker", async () => {
    const files = {
      "/": "<!doctype html><title>worker</title>",
      "/tickwire.min.js": readFileSync(bundle),
      "/worker.js": `
        importScripts("tickwire.min.js");
        const client = tickwire.connect(${JSON.stringify(broker.url)});
        client.subscribe("ticker.*").on("synced", ({ topics }) => postMessage(topics.join()));`,
    };
    const server = createServer(({ url }, response) => {
      response.setHeader("Content-Type", url.endsWith(".js") ? "text/javascript" : "text/html");
      response.end(files[url]);
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    const tab = await browser.open(`http://127.0.0.1:${server.address().port}/`);
    const topics = await tab.evaluate(`new Promise((resolve, reject) => {
      const worker = new Worker("/worker.js");
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = ({ message }) => reject(new Error(message));
    })`);
    assert.equal(topics, "ticker.*");
    server.closeAllConnections();
    server.close();
  });
});
