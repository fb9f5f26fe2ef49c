// A broker for the tests that says what a test tells it to: a listener, and one WebSocket at a time.

import { createServer } from "node:http";
import { WebSocketServer } from "ws";
import { built } from "./built.mjs";

const { parseJson } = await built("codec");
const { decode, encode } = await built("msgpack");

/** The longest that a test waits for anything. */
export const DEADLINE_MS = 30_000;

/** Waits for `promise`, no longer than the deadline. */
export async function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${DEADLINE_MS} ms for ${what}`)), DEADLINE_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Things that come, for one who waits for them. */
export class Inbox {
  #items = [];
  #wake;

  push(item) {
    this.#items.push(item);
    this.#wake?.();
  }

  get waiting() {
    return this.#items;
  }

  /** The next item that `wanted` accepts: it has to be the first that it judges. */
  async next(what) {
    await within(this.some(), what);
    return this.#items.shift();
  }

  /** Waits until there is an item. */
  async some() {
    while (this.#items.length === 0) {
      await new Promise((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

/** A listener on loopback, at a port of the system's choice. */
export class FakeBroker {
  /** Handshakes that wait for an answer: `{ request, socket, head }`. */
  dials = new Inbox();
  /** Other requests of HTTP: `{ request, response }`. */
  requests = new Inbox();
  #server = createServer((request, response) => {
    if (this.onRequest?.(request, response)) return;
    this.requests.push({ request, response });
  });
  #sockets = new WebSocketServer({
    noServer: true,
    handleProtocols: (protocols) => [...protocols].find((name) => /^tickwire\.v1\./.test(name)) ?? false,
  });
  #open = new Set();

  static async start() {
    const broker = new FakeBroker();
    broker.#server.on("upgrade", (request, socket, head) => {
      socket.on("error", () => {});
      broker.dials.push({ request, socket, head });
    });
    broker.#server.on("connection", (socket) => {
      broker.#open.add(socket);
      socket.on("close", () => broker.#open.delete(socket));
    });
    await new Promise((resolve) => broker.#server.listen(0, "127.0.0.1", resolve));
    return broker;
  }

  get url() {
    return `ws://127.0.0.1:${this.#server.address().port}/v1/ws`;
  }

  /** Waits for a handshake and accepts it. */
  async accept() {
    const dial = await this.dials.next("the client to connect");
    return new Promise((resolve) => {
      this.#sockets.handleUpgrade(dial.request, dial.socket, dial.head, (socket) => resolve(new Peer(socket, dial)));
    });
  }

  async stop() {
    for (const socket of this.#open) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** The broker's end of a connection. */
export class Peer {
  /** What the client sent, decoded. */
  heard = new Inbox();

  constructor(socket, { request }) {
    this.socket = socket;
    this.request = request;
    this.raw = socket._socket;
    this.isBinary = socket.protocol === "tickwire.v1.msgpack";
    socket.on("message", (data, isBinary) => {
      this.heard.push(isBinary ? decode(new Uint8Array(data)) : parseJson(data.toString()));
    });
    socket.on("error", () => {});
    this.ended = new Promise((resolve) => {
      socket.on("close", (code) => resolve(code));
    });
  }

  /** Sends a message in the connection's codec. */
  say(message) {
    this.socket.send(this.isBinary ? encode(packed(message)) : JSON.stringify(message));
  }
}

function packed(message) {
  const { op, topic, epoch, seq, ts, data } = message;
  if (op === "update") return [0, topic, seq, ts, data];
  if (op === "snapshot") return [1, topic, epoch, seq, ts, data];
  return message;
}

/** The welcome of a test's broker. */
export function welcome(fields = {}) {
  return {
    op: "welcome",
    session: "s",
    server: "tickwire/test",
    ts: 1,
    heartbeat_ms: 15_000,
    ...fields,
    limits: {
      subscriptions: 1_024,
      message_bytes: 65_536,
      ops_per_s: 1_000,
      ops_burst: 1_000,
      publishes_per_s: 1_000,
      publishes_burst: 1_000,
      ...fields.limits,
    },
  };
}
