// Looks at each screen of a running broker's console, and prints what it saw: one line of JSON for each. Before that it
// prints what it waits for.
//
//   node test/screens.mjs --chromium PROGRAM --url http://127.0.0.1:7401/ --slow SESSION --key KEY [--pictures FOLDER]
//
// SESSION is a session that lags, and KEY a static key that may close sessions: the script closes it.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { axe, openPage, withBrowser } from "./browser.mjs";

const { values: options } = parseArgs({
  options: {
    chromium: { type: "string" },
    url: { type: "string" },
    slow: { type: "string" },
    key: { type: "string" },
    pictures: { type: "string" },
  },
});
const DESK = { width: 1440, height: 900 };
const PHONE = { width: 390, height: 844, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };
/** The test that runs this waits for 60 s after each line. An error from here says more, so it comes earlier. */
const timeout = 50_000;

const number = (text) => Number(text.replaceAll(",", ""));
const textOf = (page, selector) => page.$eval(selector, (element) => element.textContent);
const countOf = (page, selector) => page.$$eval(selector, (elements) => elements.length);
/** Waits until `seen` of the arguments is true in the page. Says so first: that is the progress which the test sees. */
const until = (page, seen, ...args) => {
  report({ until: String(seen) });
  return page.waitForFunction(seen, { timeout, polling: "raf" }, ...args);
};

async function market(page) {
  await until(page, () => document.querySelectorAll(".tape tbody tr").length > 5);
  await until(page, () => document.querySelectorAll(".ladder tbody tr").length > 10);
  await until(page, () => /volume \d/.test(document.querySelector(".candles h2")?.textContent ?? ""));
  const first = await page.$eval(".candles h2", (title) => title.firstChild.textContent);
  // Another symbol by the keyboard: its link in the list is reached by tabs.
  await page.focus(".watch input");
  await page.keyboard.type("sol");
  await until(page, () => document.querySelectorAll(".watch tbody a").length === 1);
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await until(page, () => document.querySelector(".candles h2")?.textContent.startsWith("SOL-USD"));
  // And by the address.
  await page.evaluate(() => {
    location.hash = "#market/BTC-USD";
  });
  await until(page, () => document.querySelector(".candles h2")?.textContent.startsWith("BTC-USD"));
  await until(page, () => document.querySelectorAll(".tape tbody tr").length > 5);
  // An address that names no topic is answered by the broker.
  await page.evaluate(() => {
    location.hash = "#market/%";
  });
  await until(page, () => document.querySelector(".ladder .notice") && document.querySelector(".tape .notice"));
  await page.evaluate(() => {
    location.hash = "#market/BTC-USD";
  });
  await until(page, () => document.querySelectorAll(".tape tbody tr").length > 5);
  const ladder = await page.$$eval(".ladder tbody tr:not(.spread)", (rows) =>
    rows.map((row) => [row.className, Number(row.cells[0].textContent)]),
  );
  await page.click("button::-p-text(1 s)");
  await until(page, () => /last \d/.test(document.querySelector(".candles .chart")?.getAttribute("aria-label") ?? ""));
  const candles = await page.$eval(".candles .chart", (chart) => chart.getAttribute("aria-label"));
  await page.$eval(".watch input", (field) => {
    field.value = "";
    field.dispatchEvent(new Event("input", { bubbles: true }));
  });
  await until(page, () => document.querySelectorAll(".watch tbody a").length > 5);
  return {
    first,
    symbols: await countOf(page, ".watch tbody a"),
    ladder,
    candles,
    trades: await countOf(page, ".tape tbody tr"),
    notices: await countOf(page, ".notice"),
  };
}

async function topics(page) {
  await until(page, () => /^[1-9]/.test(document.querySelector("#topics-title")?.textContent ?? ""));
  const listed = number((await textOf(page, "#topics-title")).split(" ")[0]);
  // The arrow keys go from row to row, and the tab key leaves the rows.
  await page.focus(".topics section:first-child tbody button");
  const focused = () => page.evaluate(() => document.activeElement.closest("tr")?.getAttribute("aria-rowindex"));
  for (const key of ["ArrowDown", "ArrowDown", "ArrowDown", "ArrowUp"]) await page.keyboard.press(key);
  const arrows = await focused();
  await page.keyboard.press("Tab");
  const left = (await focused()) === undefined;
  // Keys that scroll go on working when the row that has the focus leaves the view.
  await page.focus(".topics section:first-child tbody button");
  const rows = await page.$(".topics section:first-child .rows");
  for (const beyond of [0, 500, 1_000, 1_500]) {
    await page.keyboard.press("PageDown");
    await until(page, (element, least) => element.scrollTop > least, rows, beyond);
  }
  await page.keyboard.press("Home");
  await until(page, (element) => element.scrollTop === 0, rows);
  const field = await page.$(".topics form input");
  await field.click({ count: 3 });
  await page.keyboard.type("trade.*");
  await page.keyboard.press("Enter");
  await until(page, () => {
    const rows = [...document.querySelectorAll(".topics section:first-child tbody tr:not(.space)")];
    return rows.length > 0 && rows.every((row) => row.cells[0].textContent.startsWith("trade."));
  });
  await page.click(".topics form button[type=button]");
  const tapped = ".topics section:last-child tbody tr:not(.space)";
  await until(page, (rows) => document.querySelectorAll(rows).length > 10, tapped);
  const top = () => page.$eval(tapped, (row) => row.textContent);
  await page.click("button[aria-pressed=false]::-p-text(Pause)");
  await until(page, () => document.querySelector(".topics section:last-child button[aria-pressed=true]"));
  const seen = async () => number((await textOf(page, ".topics .facts")).match(/([\d,]+) seen/)[1]);
  const [before, count] = [await top(), await seen()];
  await until(page, (was) => Number(document.querySelector(".topics .facts").textContent.match(/([\d,]+) seen/)[1].replaceAll(",", "")) > was + 20, count);
  const pausedSame = before === (await top());
  await page.click(`${tapped} button`);
  const message = JSON.parse(await textOf(page, "pre.message"));
  await page.click("button[aria-pressed=true]::-p-text(Pause)");
  await until(page, (was, rows) => document.querySelector(rows).textContent !== was, before, tapped);
  const readers = await page.$$eval(".topics section:first-child tbody tr:not(.space)", (rows) =>
    rows.map((row) => row.cells[5].textContent),
  );
  return { listed, arrows, left, pausedSame, message, rows: await countOf(page, tapped), readers };
}

async function sessions(page) {
  const row = `::-p-xpath(//tr[td[1][text()='${options.slow}']])`;
  await page.waitForSelector(row, { timeout });
  const cells = await page.$eval(row, (found) => [...found.cells].map((cell) => cell.textContent));
  const buttonsBefore = await countOf(page, "tbody button");
  await page.click("header button::-p-text(Token…)");
  await page.type("dialog[open] input", options.key);
  await page.keyboard.press("Enter");
  await page.waitForSelector("tbody button", { timeout });
  return { cells, buttonsBefore };
}

async function closeSlow(page) {
  const button = `::-p-xpath(//tr[td[1][text()='${options.slow}']]//button)`;
  await (await page.waitForSelector(button, { timeout })).click();
  await page.waitForSelector("dialog[open] .danger", { timeout });
  const violations = await axe(page);
  await page.click("dialog[open] .danger");
  await until(
    page,
    (name) => {
      const rows = [...document.querySelectorAll("tbody tr")];
      const left = rows.find((found) => found.cells[0].textContent === name);
      return !left || left.cells[1].textContent === "closing";
    },
    options.slow,
  );
  return { screen: "close", violations, holder: await textOf(page, "header button") };
}

async function health(page) {
  await until(page, () => document.querySelectorAll(".plot canvas").length === 4);
  await until(page, () => /It adds up/.test(document.querySelector("main").textContent));
  const figures = await page.$$eval(".figures div", (all) =>
    Object.fromEntries(all.map((one) => [one.querySelector("dt").textContent, one.querySelector("dd").textContent])),
  );
  const ledger = await page.$$eval("#ledger-title ~ table tbody tr", (rows) =>
    Object.fromEntries(rows.map((one) => [one.cells[0].textContent.split(" ")[0], one.cells[1].textContent])),
  );
  for (const name of Object.keys(ledger)) ledger[name] = number(ledger[name]);
  return { figures, ledger };
}

/** On a phone: how far the messages of a tap reach beyond its edge. */
async function tapOnPhone(page) {
  await page.waitForSelector(".topics form button[type=button]", { timeout });
  await page.click(".topics form button[type=button]");
  const message = await page.waitForSelector(".topics section:last-child tbody tr:not(.space) button", { timeout });
  return message.evaluate((button) => button.getBoundingClientRect().right - innerWidth);
}

/** How much of the page moved by itself since it was opened: the largest of its shifts. */
const shift = (page) =>
  page.evaluate(
    () =>
      new Promise((resolve) => {
        const seen = new PerformanceObserver((list) => {
          const own = list.getEntries().filter((entry) => !entry.hadRecentInput);
          resolve(Math.max(0, ...own.map((entry) => entry.value)));
        });
        seen.observe({ type: "layout-shift", buffered: true });
        // Without any shift there is no report.
        requestAnimationFrame(() => requestAnimationFrame(() => resolve(0)));
      }),
  );

const SCREENS = { market, topics, sessions, health };

async function picture(page, name) {
  if (options.pictures) await page.screenshot({ path: join(options.pictures, `console-${name}.png`) });
}

function report(facts) {
  process.stdout.write(`${JSON.stringify(facts)}\n`);
}

if (options.pictures) await mkdir(options.pictures, { recursive: true });
await withBrowser(options.chromium, async (browser) => {
  report({ screen: "start" });
  for (const [screen, look] of Object.entries(SCREENS)) {
    const { page, complaints } = await openPage(browser, `${options.url}#${screen}`, DESK);
    const facts = await look(page);
    await picture(page, screen);
    const violations = await axe(page);
    await page.click("header button::-p-text(Dark)");
    await until(page, () => document.documentElement.dataset.theme === "dark");
    await picture(page, `${screen}-dark`);
    violations.push(...(await axe(page)).map((text) => `dark: ${text}`));
    if (screen === "sessions") report(await closeSlow(page));
    report({ screen, facts, violations, complaints });
    await page.close();
  }
  for (const screen of Object.keys(SCREENS)) {
    const { page, complaints } = await openPage(browser, `${options.url}#${screen}`, PHONE);
    await page.waitForSelector("main section", { timeout });
    if (screen === "health") await until(page, () => document.querySelectorAll(".plot canvas").length === 4);
    const moved = await shift(page);
    const beyond = screen === "topics" ? await tapOnPhone(page) : 0;
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    await picture(page, `${screen}-phone`);
    const narrow = await page.$$eval("th", (heads) => heads.filter((head) => head.checkVisibility() && head.clientWidth < 24).map((head) => head.textContent));
    report({ screen: `${screen} on a phone`, overflow, beyond, moved, narrow, violations: await axe(page), complaints });
    await page.close();
  }
});
