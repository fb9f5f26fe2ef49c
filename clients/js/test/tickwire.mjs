// A real broker for a test file, and a proxy in front of it that can be cut.
//
// The program is that of TICKWIRE_BIN, or the project's own release build.

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { appendFileSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, connect as dial } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { within } from "./broker.mjs";

const program = process.env.TICKWIRE_BIN ?? fileURLToPath(new URL("../../../target/release/tickwire", import.meta.url));

export class Tickwire {
  /** Starts a broker. `args` are those of `serve`, `config` is the text of its file. */
  static async start({ args = [], config = "" } = {}) {
    if (!existsSync(program)) {
      throw new Error(`${program} is not there: cargo build --release -p tickwire, or name it in TICKWIRE_BIN`);
    }
    const broker = new Tickwire();
    broker.folder = mkdtempSync(join(tmpdir(), "tickwire-js-"));
    writeFileSync(join(broker.folder, "tickwire.toml"), config);
    broker.child = spawn(
      program,
      ["serve", "--listen", "127.0.0.1:0", "--ops", "127.0.0.1:0", "--log-format", "json", "--shards", "1"]
        .concat(args.includes("--feed") ? [] : ["--feed", "none"])
        .concat(["--config", join(broker.folder, "tickwire.toml")], args),
      { stdio: ["ignore", "pipe", "pipe"], cwd: broker.folder },
    );
    // It does not outlive this process, even if nobody stops it.
    process.once("exit", () => broker.child.kill("SIGKILL"));
    broker.exited = new Promise((resolve) => broker.child.on("exit", resolve));
    const said = [];
    const ready = new Promise((resolve, reject) => {
      for (const output of [broker.child.stdout, broker.child.stderr]) {
        createInterface({ input: output }).on("line", (line) => {
          said.push(line);
          try {
            const { url } = JSON.parse(line);
            if (url) resolve(url);
          } catch {
            // What is no line of the log is told if the broker does not start.
          }
        });
      }
      broker.child.on("exit", () => reject(new Error(`the broker ended: ${said.join("\n")}`)));
    });
    broker.url = await within(ready, "the broker to start");
    broker.port = Number(new URL(broker.url).port);
    return broker;
  }

  /** Tells the broker to drain. */
  drain() {
    this.child.kill("SIGTERM");
  }

  async stop() {
    this.child.kill("SIGKILL");
    await this.exited;
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Publishes over HTTP, as another program would. */
  async publish(topic, data) {
    const response = await fetch(`http://127.0.0.1:${this.port}/v1/topics/${topic}`, {
      method: "POST",
      body: JSON.stringify(data),
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(JSON.stringify(answer));
    return answer;
  }
}

/** The line of a configuration for a static key. */
export function keyHash(key) {
  return createHash("sha256").update(key).digest("hex");
}

/** Stops each of them, even if another one cannot be stopped. One that was never started may be `undefined`. */
export async function stopAll(...running) {
  const results = await Promise.allSettled(running.map((one) => one?.stop()));
  const failed = results.find(({ status }) => status === "rejected");
  if (failed) throw failed.reason;
}

/** A proxy on loopback that can be cut, and that can refuse WebSockets as some companies' proxies do. */
export class CuttableProxy {
  sockets = new Set();
  isCut = false;
  blocksWebSocket = false;
  /** How many handshakes of WebSockets were refused. */
  refused = 0;

  static async start(port) {
    const proxy = new CuttableProxy();
    proxy.target = port;
    proxy.server = createServer((socket) => proxy.pass(socket));
    await new Promise((resolve) => proxy.server.listen(0, "127.0.0.1", resolve));
    proxy.url = `ws://127.0.0.1:${proxy.server.address().port}/v1/ws`;
    return proxy;
  }

  pass(socket) {
    this.sockets.add(socket);
    socket.on("close", () => this.sockets.delete(socket));
    socket.on("error", () => {});
    if (this.isCut) {
      socket.destroy();
      return;
    }
    socket.once("data", (first) => {
      if (this.blocksWebSocket && /^upgrade: websocket/im.test(first.toString("latin1"))) {
        this.refused += 1;
        socket.end("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
      }
      const upstream = dial(this.target, "127.0.0.1");
      upstream.on("error", () => socket.destroy());
      upstream.write(first);
      socket.pipe(upstream);
      upstream.pipe(socket);
      socket.on("close", () => upstream.destroy());
      upstream.on("close", () => socket.destroy());
    });
  }

  /** Ends all connections, and refuses new ones until {@link mend}. */
  cut() {
    this.isCut = true;
    for (const socket of this.sockets) socket.destroy();
  }

  mend() {
    this.isCut = false;
  }

  async stop() {
    this.cut();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

/** Reads a subscription until an event satisfies `wanted`; returns all that came. */
export async function readUntil(subscription, wanted, what) {
  const events = [];
  const reader = subscription[Symbol.asyncIterator]();
  const read = async () => {
    for (;;) {
      const { done, value } = await reader.next();
      if (done) throw new Error(`the subscription ended before ${what}`);
      events.push(value);
      if (wanted(value)) return events;
    }
  };
  return within(read(), what);
}

/** Waits for an event of the client. */
export function happens(client, type, wanted = () => true) {
  const found = new Promise((resolve) => {
    const off = client.on(type, (event) => {
      if (!wanted(event)) return;
      off();
      resolve(event);
    });
  });
  return within(found, `the event ${type}`);
}

/** Tells that the machine lacks what a test needs: to the reader, and to the project's tests, which count it as skipped. */
export function tellSkipped(name, why) {
  const line = `skipped: ${name}: ${why}`;
  console.log(line);
  if (process.env.TICKWIRE_TEST_SKIP_LOG) appendFileSync(process.env.TICKWIRE_TEST_SKIP_LOG, `${line}\n`);
}
