/**
 * Foreign data becomes a message here, once: nothing behind this file checks a type again. Fields and ops that are not
 * known are ignored, as the protocol asks.
 */

import { ProtocolError } from "./errors.js";
import type { Seq } from "./seq.js";
import type { Result, ServerMessage } from "./types.js";

type Fields = Record<string, unknown>;

class Reader {
  constructor(
    private readonly what: string,
    private readonly fields: Fields,
  ) {}

  private bad(name: string, wanted: string): never {
    throw new ProtocolError(`${this.what} has no valid ${name}: ${wanted} is needed`);
  }

  text(name: string): string {
    const value = this.fields[name];
    return typeof value === "string" ? value : this.bad(name, "a text");
  }

  count(name: string): number {
    const value = this.fields[name];
    return typeof value === "number" && Number.isSafeInteger(value) && value >= 0
      ? value
      : this.bad(name, "a whole number");
  }

  seq(name: string): Seq {
    const value = this.fields[name];
    return typeof value === "bigint" && value > 0n && value < 2n ** 64n ? value : this.count(name);
  }

  flag(name: string): boolean {
    const value = this.fields[name];
    return typeof value === "boolean" ? value : this.bad(name, "true or false");
  }

  part(name: string): Reader {
    return new Reader(`${this.what}.${name}`, record(this.fields[name]) ?? this.bad(name, "an object"));
  }

  list(name: string): unknown[] {
    const value = this.fields[name] ?? [];
    return Array.isArray(value) ? value : this.bad(name, "a list");
  }

  any(name: string): unknown {
    return this.fields[name] === undefined ? this.bad(name, "a value") : this.fields[name];
  }

  /** The value of an optional field: absent and `null` are the same. */
  maybe<T>(name: string, read: (reader: Reader, name: string) => T): T | undefined {
    return this.fields[name] == null ? undefined : read(this, name);
  }
}

const text = (r: Reader, name: string): string => r.text(name);
const count = (r: Reader, name: string): number => r.count(name);
const flag = (r: Reader, name: string): boolean => r.flag(name);
const refusal = (r: Reader) => ({
  code: r.text("code"),
  reason: r.text("reason"),
  ...optional({ retryable: r.maybe("retryable", flag) }),
});

function record(value: unknown): Fields | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : undefined;
}

/** Leaves out what is undefined. */
function optional<T extends Fields>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never;
}

function result(value: unknown, index: number): Result {
  const what = `ack.results[${index}]`;
  const fields = record(value);
  if (!fields) throw new ProtocolError(`${what} is no object`);
  const r = new Reader(what, fields);
  return {
    topic: r.text("topic"),
    ...optional({
      matched: r.maybe("matched", count),
      epoch: r.maybe("epoch", text),
      seq: r.maybe("seq", (r, name) => r.seq(name)),
      mode: r.maybe("mode", text) as Result["mode"],
      modes: r.maybe("modes", (r, name) => {
        r.part(name);
        return fields[name];
      }) as Result["modes"],
      conflate_ms: r.maybe("conflate_ms", count),
      recovered: r.maybe("recovered", flag),
      resumed: r.maybe("resumed", count),
      not_resumed: r.maybe("not_resumed", count),
      duplicate: r.maybe("duplicate", flag),
      error: r.maybe("error", (r, name) => refusal(r.part(name))),
    }),
  };
}

const READERS: Record<string, (r: Reader, op: never) => ServerMessage> = {
  update: (r) => ({
    op: "update",
    topic: r.text("topic"),
    seq: r.seq("seq"),
    ts: r.count("ts"),
    data: r.any("data"),
  }),
  snapshot: (r) => ({
    op: "snapshot",
    topic: r.text("topic"),
    epoch: r.text("epoch"),
    seq: r.seq("seq"),
    ts: r.count("ts"),
    data: r.any("data"),
  }),
  welcome: (r) => {
    const limits = r.part("limits");
    const rate = (name: string): number => limits.maybe(name, count) ?? 0;
    return {
      op: "welcome",
      session: r.text("session"),
      server: r.text("server"),
      ts: r.count("ts"),
      heartbeat_ms: r.count("heartbeat_ms"),
      limits: {
        subscriptions: limits.count("subscriptions"),
        message_bytes: limits.count("message_bytes"),
        ops_per_s: limits.count("ops_per_s"),
        ops_burst: rate("ops_burst"),
        publishes_per_s: rate("publishes_per_s"),
        publishes_burst: rate("publishes_burst"),
      },
      ...optional({ node: r.maybe("node", text) }),
    };
  },
  ack: (r) => ({ op: "ack", id: r.count("id"), results: r.list("results").map(result) }),
  synced: (r) => ({ op: "synced", id: r.count("id") }),
  joined: (r) => ({ op: "joined", topic: r.text("topic"), epoch: r.text("epoch"), seq: r.seq("seq") }),
  gap: (r) => ({
    op: "gap",
    topic: r.text("topic"),
    epoch: r.text("epoch"),
    from: r.seq("from"),
    to: r.seq("to"),
    reason: r.text("reason"),
  }),
  status: (r) => ({
    op: "status",
    topic: r.text("topic"),
    state: r.text("state"),
    ...optional({ reason: r.maybe("reason", text) }),
  }),
  end: (r) => ({
    op: "end",
    topic: r.text("topic"),
    epoch: r.text("epoch"),
    seq: r.seq("seq"),
    reason: r.text("reason"),
  }),
  heartbeat: (r) => ({ op: "heartbeat", ts: r.count("ts") }),
  pong: (r) => ({
    op: "pong",
    ts: r.count("ts"),
    ...optional({ id: r.maybe("id", count), received: r.maybe("received", count) }),
  }),
  drain: (r) => ({
    op: "drain",
    reconnect_after_ms: r.count("reconnect_after_ms"),
    deadline_ms: r.count("deadline_ms"),
  }),
  error: (r) => ({ op: "error", ...refusal(r), ...optional({ id: r.maybe("id", count) }) }),
};

/**
 * The message in `value`, or `undefined` if its op is not known.
 *
 * @throws {ProtocolError} if it is no message, or lacks a field of its op
 */
export function toMessage(value: unknown): ServerMessage | undefined {
  const fields = record(value);
  if (!fields || typeof fields.op !== "string") throw new ProtocolError("a message without op");
  const read = Object.hasOwn(READERS, fields.op) ? READERS[fields.op] : undefined;
  return read?.(new Reader(fields.op, fields), undefined as never);
}
