// A headless Chromium, driven over the DevTools protocol. `undefined` if the machine has none.

import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import WebSocket from "ws";
import { within } from "./broker.mjs";

const program = process.env.CHROMIUM_BIN ?? "chromium";

/** Whether the machine has a Chromium. */
export function hasBrowser() {
  return spawnSync(program, ["--version"]).status === 0;
}

export class Browser {
  static async start() {
    const browser = new Browser();
    browser.folder = mkdtempSync(join(tmpdir(), "tickwire-chromium-"));
    const flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"];
    browser.child = spawn(
      program,
      [
        ...flags,
        "--allow-file-access-from-files",
        "--remote-debugging-port=0",
        `--user-data-dir=${browser.folder}`,
        "about:blank",
      ],
      // A group of its own, so that all its processes can be ended.
      { stdio: ["ignore", "ignore", "pipe"], detached: true },
    );
    process.once("exit", () => browser.kill());
    // A stream is closed when the last process that holds it has ended.
    browser.closed = new Promise((resolve) => browser.child.on("close", resolve));
    const listening = new Promise((resolve, reject) => {
      createInterface({ input: browser.child.stderr }).on("line", (line) => {
        const found = /DevTools listening on (ws:\S+)/.exec(line);
        if (found) resolve(found[1]);
      });
      browser.child.on("exit", (code) => reject(new Error(`the browser ended with ${code}`)));
    });
    browser.socket = new WebSocket(await within(listening, "the browser to start"));
    await within(new Promise((resolve) => browser.socket.once("open", resolve)), "the browser to answer");
    browser.calls = new Map();
    browser.loaded = new Map();
    browser.id = 0;
    browser.socket.on("message", (data) => {
      const { id, result, error, method, sessionId } = JSON.parse(data);
      if (method === "Page.loadEventFired") browser.loaded.get(sessionId)?.();
      const call = browser.calls.get(id);
      if (error) call?.reject(new Error(error.message));
      else call?.resolve(result);
    });
    return browser;
  }

  call(method, params = {}, sessionId = undefined) {
    this.id += 1;
    const { id } = this;
    const answer = new Promise((resolve, reject) => this.calls.set(id, { resolve, reject }));
    this.socket.send(JSON.stringify({ id, method, params, ...(sessionId && { sessionId }) }));
    return within(answer, method);
  }

  /** Opens a page. */
  async open(url) {
    const { targetId } = await this.call("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await this.call("Target.attachToTarget", { targetId, flatten: true });
    await this.call("Page.enable", {}, sessionId);
    const loaded = new Promise((resolve) => this.loaded.set(sessionId, resolve));
    await this.call("Page.navigate", { url }, sessionId);
    await within(loaded, "the page to load");
    return {
      /** The value of an expression in the page; promises are awaited. */
      evaluate: async (expression) => {
        const params = { expression, awaitPromise: true, returnByValue: true };
        const { result, exceptionDetails } = await this.call("Runtime.evaluate", params, sessionId);
        if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
        return result.value;
      },
      /** Waits until the document changes so that `condition`, an expression, holds. */
      async until(condition) {
        await this.evaluate(`new Promise((resolve, reject) => {
          const check = () => { if (document.body && (${condition})) { observer.disconnect(); resolve(true); } };
          const observer = new MutationObserver(check);
          observer.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
          setTimeout(() => reject(new Error(document.body?.innerText)), 25_000);
          check();
        })`);
      },
    };
  }

  /** Kills all its processes: those of pages and of the network outlive the first one, and write into its folder. */
  kill() {
    try {
      process.kill(-this.child.pid, "SIGKILL");
    } catch (error) {
      if (error.code !== "ESRCH") throw error;
    }
  }

  async stop() {
    this.socket?.close();
    this.kill();
    await within(this.closed, "the browser to end");
    rmSync(this.folder, { recursive: true, force: true });
  }
}
