// Publishes messages that a page could stumble over, looks at them in the console, and prints what it saw: one line of
// JSON for each screen.
//
//   node test/hostile.mjs --chromium PROGRAM --url http://127.0.0.1:7401/ --publish http://127.0.0.1:7400
//
// For a broker that was started with `--feed none --anonymous-publish '>'`.
import { parseArgs } from "node:util";
import { axe, openPage, withBrowser } from "./browser.mjs";

const { values: options } = parseArgs({
  options: { chromium: { type: "string" }, url: { type: "string" }, publish: { type: "string" } },
});
const timeout = 60_000;
const script = "<script>alert(1)</script><img src=x onerror=alert(2)>";
const ticker = { symbol: "GOOD-USD", last: "1.5", bid: "1", ask: "2", volume: "10", change_pct: "0" };
const trade = { symbol: "GOOD-USD", price: "1.5", size: "2", side: "buy", time: Date.now() * 1_000 };

/** Topics and their data, as JSON. */
const MESSAGES = [
  ["chat.script", JSON.stringify(script)],
  ["chat.large", JSON.stringify("x".repeat(60_000))],
  ["chat.turned", JSON.stringify("\u202eexe.txt \u05e9\u05dc\u05d5\u05dd")],
  ["chat.control", JSON.stringify("a\u0000\u001b[31m\u2028\ufeff")],
  ["chat.marks", JSON.stringify(`z${"\u0301".repeat(300)}`)],
  ["chat.number", "12345678901234567890"],
  ["chat.names", '{"__proto__":{"x":1},"constructor":null}'],
  ["ticker.GOOD-USD", JSON.stringify(ticker)],
  ["ticker.B1", "null"],
  ["ticker.B2", "5"],
  ["ticker.B3", JSON.stringify({ ...ticker, last: {}, volume: script })],
  ["trade.GOOD-USD", JSON.stringify(trade)],
  ["trade.GOOD-USD", "null"],
  ["trade.GOOD-USD", JSON.stringify({ ...trade, price: "9".repeat(300), time: "now" })],
];

/** What the page shows of a message that is opened. */
async function open(page, topic) {
  const row = `::-p-xpath(//section[last()]//tr[td[2][text()='${topic}']]//button)`;
  const button = await page.waitForSelector(row, { timeout });
  await button.evaluate((found) => found.click());
  const label = `${topic}, message 1`;
  const shown = await page.waitForSelector(`pre[aria-label="${label}"]`, { timeout });
  return shown.evaluate((element) => element.textContent);
}

function report(facts) {
  process.stdout.write(`${JSON.stringify(facts)}\n`);
}

const body = MESSAGES.map(([topic, data]) => `{"topic":"${topic}","data":${data}}`).join("\n");
const answer = await fetch(`${options.publish}/v1/publish`, { method: "POST", body });
if (!answer.ok) throw new Error(`publishing: ${answer.status} ${await answer.text()}`);

await withBrowser(options.chromium, async (browser) => {
  const size = { width: 1280, height: 800 };
  const { page, complaints } = await openPage(browser, `${options.url}#topics`, size);
  page.on("dialog", (dialog) => complaints.push(`dialog: ${dialog.message()}`));
  const tap = await page.waitForSelector(".topics form button[type=button]", { timeout });
  await tap.click();
  const wrong = [];
  for (const [topic, data] of MESSAGES.filter(([name]) => name.startsWith("chat."))) {
    const text = await open(page, topic);
    const isSame = topic === "chat.number" ? text.includes(`"data": ${data}\n`) : JSON.stringify(JSON.parse(text).data) === data;
    if (!isSame || /\p{Cf}/u.test(text)) wrong.push(`${topic}: ${text.slice(0, 300)}`);
  }
  const violations = await axe(page);
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  report({ screen: "topics", wrong, violations, overflow, complaints });
  await page.click("button::-p-text(Close)");
  await page.waitForFunction(() => !document.querySelector("pre.message"), { timeout });

  await page.evaluate(() => {
    location.hash = "#market";
  });
  const traded = () => document.querySelectorAll(".tape tbody tr").length === 1 && document.querySelector(".tape .notice");
  await page.waitForFunction(traded, { timeout });
  const symbols = await page.$$eval(".watch tbody a", (links) => links.map((link) => link.textContent));
  const notices = await page.$$eval(".notice", (all) => all.map((one) => one.textContent));
  const foreign = await page.$$eval("#app script, #app img", (all) => all.length);
  report({ screen: "market", symbols, notices, foreign, complaints });
});
