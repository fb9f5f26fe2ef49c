// Chromium without a window, for the tests and the measurements of the page.
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import puppeteer from "puppeteer-core";

const require = createRequire(import.meta.url);

/** Calls `work` with a browser. `program` is the path of Chromium. */
export async function withBrowser(program, work) {
  const home = await mkdtemp(join(tmpdir(), "tickwire-console-"));
  const browser = await puppeteer.launch({
    executablePath: program,
    headless: true,
    // Chromium ends with this pipe, however this process ends.
    pipe: true,
    protocolTimeout: 120_000,
    userDataDir: join(home, "profile"),
    // Without these variables, crash reports and the like go to the home of the user who runs the test.
    env: { ...process.env, HOME: home, XDG_CONFIG_HOME: home, XDG_CACHE_HOME: home },
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-dev-shm-usage",
      "--disable-quic",
      "--no-first-run",
      "--no-proxy-server",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--force-color-profile=srgb",
      "--hide-scrollbars",
    ],
  });
  try {
    return await work(browser);
  } finally {
    await browser.close();
    await rm(home, { recursive: true, force: true });
  }
}

/**
 * Opens a page of the console at `url`, and collects everything that it complains about: errors, refused loads, and
 * requests to other hosts.
 */
export async function openPage(browser, url, size) {
  const page = await browser.newPage();
  const complaints = [];
  const own = new URL(url).host;
  page.on("pageerror", (error) => complaints.push(`error: ${error.message}`));
  page.on("console", (message) => {
    if (["error", "warn"].includes(message.type())) complaints.push(`${message.type()}: ${message.text()}`);
  });
  page.on("request", (request) => {
    const { host, protocol } = new URL(request.url());
    if (protocol !== "data:" && host !== own) complaints.push(`request to another host: ${request.url()}`);
  });
  await page.setViewport(size);
  await page.goto(url, { waitUntil: "load" });
  return { page, complaints };
}

/** The violations that axe finds in a page, as text. */
export async function axe(page) {
  // The page's own policy forbids scripts of others, so axe comes in through the debugger.
  await page.evaluate(await readFile(require.resolve("axe-core/axe.min.js"), "utf8"));
  // A colour on its way from one theme to the other belongs to neither.
  await page.evaluate(() => Promise.allSettled(document.getAnimations().map((animation) => animation.finished)));
  const violations = await page.evaluate(async () => (await globalThis.axe.run()).violations);
  return violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.html).slice(0, 3).join(" | ")}`);
}
