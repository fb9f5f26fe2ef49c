// Measures the page with a running broker: frames, first paint, memory.
//
//   node test/measure.mjs --chromium PROGRAM --url http://127.0.0.1:7401/ [--minutes 3] [--screens market,topics]
//        [--publish http://127.0.0.1:7400]
//
// With --publish it publishes to 10,000 topics itself, 1,000 messages a second, over HTTP: for a broker that was started
// with `--feed none --anonymous-publish 'ticker.>'`. It prints a table in Markdown. Frames are the times between animation frames; one that takes more than 25 ms is late
// at 60 a second. Memory is the script's heap after a collection, once a minute.
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { openPage, withBrowser } from "./browser.mjs";

const { values: options } = parseArgs({
  options: {
    chromium: { type: "string" },
    url: { type: "string" },
    minutes: { type: "string", default: "3" },
    screens: { type: "string", default: "market,topics" },
    publish: { type: "string" },
  },
});
const minutes = Number(options.minutes);
const timeout = 60_000;
const TOPICS = 10_000;
const PER_SECOND = 1_000;
/** Publications a second. */
const TURNS = 20;
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** The messages of these topics, as lines of a publication. */
function lines(first, count) {
  const messages = Array.from({ length: count }, (_, at) => {
    const symbol = `S${String((first + at) % TOPICS).padStart(4, "0")}-USD`;
    const price = (100 + Math.random()).toFixed(4);
    const data = { symbol, last: price, bid: price, ask: price, volume: "1000", change_pct: "0.01", time: Date.now() * 1_000 };
    return JSON.stringify({ topic: `ticker.${symbol}`, data });
  });
  return messages.join("\n");
}

/** Publishes to all topics once, and then at the rate until `ended` aborts. */
async function publish(url, ended) {
  const send = async (first, count) => {
    const response = await fetch(`${url}/v1/publish`, { method: "POST", body: lines(first, count), signal: ended });
    if (!response.ok) throw new Error(`publishing: ${response.status} ${await response.text()}`);
  };
  await send(0, TOPICS);
  const began = performance.now();
  const rest = async () => {
    for (let turn = 0; !ended.aborted; turn += 1) {
      await send((turn * 7 * PER_SECOND) / TURNS, PER_SECOND / TURNS);
      await wait(Math.max(0, began + ((turn + 1) * 1_000) / TURNS - performance.now()));
    }
  };
  return { rest: rest().catch((error) => ended.aborted || Promise.reject(error)) };
}

/** Begins to note the time of each frame. */
function noteFrames() {
  globalThis.frames = [];
  let last = performance.now();
  const frame = (now) => {
    globalThis.frames.push(now - last);
    last = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}

const at = (sorted, part) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;

async function heap(session) {
  await session.send("HeapProfiler.collectGarbage");
  const { metrics } = await session.send("Performance.getMetrics");
  const of = (name) => metrics.find((metric) => metric.name === name)?.value ?? 0;
  return { mb: of("JSHeapUsedSize") / 1e6, nodes: of("Nodes"), busy: of("TaskDuration") };
}

async function measure(browser, screen) {
  const { page, complaints } = await openPage(browser, `${options.url}#${screen}`, { width: 1440, height: 900 });
  const paint = await page.evaluate(
    () =>
      new Promise((resolve) => {
        new PerformanceObserver((list) => {
          const found = list.getEntriesByName("first-contentful-paint")[0];
          if (found) resolve(found.startTime);
        }).observe({ type: "paint", buffered: true });
      }),
  );
  let topics = "";
  if (screen === "topics") {
    await page.waitForFunction(() => /^[1-9]/.test(document.querySelector("#topics-title")?.textContent ?? ""), { timeout });
    topics = (await page.$eval("#topics-title", (title) => title.textContent)).split(" ")[0];
    await page.click(".topics form button[type=button]");
    await page.waitForFunction(() => document.querySelectorAll(".topics section:last-child tbody tr").length > 10, { timeout });
  } else if (screen === "market") {
    const seen = options.publish ? ".watch tbody tr" : ".ladder tbody tr";
    await page.waitForFunction((rows) => document.querySelectorAll(rows).length > 5, { timeout }, seen);
  }
  const session = await page.createCDPSession();
  await session.send("Performance.enable");
  await session.send("HeapProfiler.enable");
  // The snapshots of all topics come first.
  await wait(15_000);
  const began = await heap(session);
  await page.evaluate(noteFrames);
  const rates = [];
  const heaps = [began.mb];
  const frames = [];
  for (let minute = 0; minute < minutes; minute += 1) {
    for (let part = 0; part < 12; part += 1) {
      await wait(5_000);
      const facts = screen === "topics" ? await page.$eval(".topics .facts", (found) => found.textContent) : "";
      const rate = facts.match(/([\d,]+)\/s/)?.[1];
      if (rate) rates.push(Number(rate.replaceAll(",", "")));
    }
    frames.push(...(await page.evaluate(() => globalThis.frames.splice(0))));
    heaps.push((await heap(session)).mb);
  }
  const ended = await heap(session);
  const sorted = [...frames].sort((a, b) => a - b);
  const seconds = frames.reduce((sum, ms) => sum + ms, 0) / 1_000;
  await page.close();
  return {
    screen,
    topics,
    "updates/s": rates.length ? Math.round(rates.reduce((sum, one) => sum + one, 0) / rates.length) : "",
    "frames/s": (frames.length / seconds).toFixed(1),
    "p50 ms": at(sorted, 0.5).toFixed(1),
    "p99 ms": at(sorted, 0.99).toFixed(1),
    "longest ms": at(sorted, 1).toFixed(0),
    "late %": ((100 * sorted.filter((ms) => ms > 25).length) / sorted.length).toFixed(2),
    "first paint ms": paint.toFixed(0),
    "busy %": ((100 * (ended.busy - began.busy)) / seconds).toFixed(0),
    "heap MB by minute": heaps.map((mb) => mb.toFixed(1)).join(" "),
    nodes: ended.nodes,
    complaints: complaints.length,
  };
}

const ended = new AbortController();
const publisher = options.publish ? await publish(options.publish, ended.signal) : undefined;
await withBrowser(options.chromium, async (browser) => {
  const rows = [];
  for (const screen of options.screens.split(",")) rows.push(await measure(browser, screen));
  console.log(`${await browser.version()}, ${cpus().length} cores, ${cpus()[0]?.model}, ${minutes} minutes each\n`);
  const names = Object.keys(rows[0]);
  console.log(`| ${names.join(" | ")} |`);
  console.log(`|${names.map(() => "---").join("|")}|`);
  for (const row of rows) console.log(`| ${Object.values(row).join(" | ")} |`);
});
ended.abort();
await publisher?.rest;
