/**
 * Foreign data becomes a message here, once: nothing behind this file checks a type again. Fields and ops that are not
 * known are left out, as the protocol asks.
 *
 * A field has the same type in every op, so an op is the list of its fields. A `?` marks one that may be absent or `null`.
 */

import { ProtocolError } from "./errors.js";
import type { ServerMessage } from "./types.js";

type Fields = Record<string, unknown>;
interface Field {
  name: string;
  isOptional: boolean;
  read: Read;
}
/** Returns the value of a field as it is to be kept, or `undefined` if it has another type. */
type Read = (value: unknown, what: string) => unknown;

const text: Read = (value) => (typeof value === "string" ? value : undefined);
const count: Read = (value) => (Number.isSafeInteger(value) && (value as number) >= 0 ? value : undefined);
const seq: Read = (value, what) =>
  typeof value === "bigint" ? (value > 0n && value < 2n ** 64n ? value : undefined) : count(value, what);
const flag: Read = (value) => (typeof value === "boolean" ? value : undefined);
const parts =
  (list: string): Read =>
  (value, what) =>
    isRecord(value) ? fieldsOf(value, list, what) : undefined;
const result = parts(
  "topic matched? epoch? seq? mode? modes? conflate_ms? recovered? replay? not_stored? resumed? not_resumed? duplicate? error?",
);
const limits = parts("subscriptions message_bytes ops_per_s ops_burst? publishes_per_s? publishes_burst?");

const READ: Record<string, Read> = {
  data: (value) => value,
  error: parts("code reason retryable?"),
  limits: (value, what) => {
    const read = limits(value, what);
    return read && { ops_burst: 0, publishes_per_s: 0, publishes_burst: 0, ...read };
  },
  replay: parts("from_seq to_seq"),
  modes: (value) => (isRecord(value) ? value : undefined),
  results: (value, what) =>
    Array.isArray(value)
      ? value.map((item, index) => {
          const name = `${what}.results[${index}]`;
          const read = result(item, name);
          if (!read) throw new ProtocolError(`${name} is no object`);
          return read;
        })
      : undefined,
};
for (const [read, names] of [
  [text, "code epoch mode node reason server session state topic"],
  [flag, "duplicate recovered retryable"],
  [seq, "from from_seq seq to to_seq"],
] as const) {
  for (const name of names.split(" ")) READ[name] = read;
}

const OPS: Record<string, string> = {
  update: "topic seq ts data",
  snapshot: "topic epoch seq ts data",
  welcome: "session server ts heartbeat_ms limits node?",
  ack: "id results?",
  synced: "id",
  joined: "topic epoch seq",
  gap: "topic epoch from to reason",
  status: "topic state reason? seq?",
  end: "topic epoch seq reason",
  heartbeat: "ts",
  pong: "id? ts received?",
  drain: "reconnect_after_ms deadline_ms",
  error: "id? code reason retryable?",
};

function isRecord(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The fields of each list that was read before: most messages are of one op. */
const known = new Map<string, Field[]>();

function fieldsIn(list: string): Field[] {
  let fields = known.get(list);
  if (!fields) {
    fields = list.split(" ").map((entry) => {
      const name = entry.replace("?", "");
      return { name, isOptional: name !== entry, read: READ[name] ?? count };
    });
    known.set(list, fields);
  }
  return fields;
}

function fieldsOf(value: Fields, list: string, what: string, read: Fields = {}): Fields {
  for (const field of fieldsIn(list)) {
    const given = value[field.name];
    if (field.isOptional && given == null) continue;
    const found = field.read(given, what);
    if (found === undefined) throw new ProtocolError(`${what} has no valid ${field.name}`);
    read[field.name] = found;
  }
  return read;
}

/**
 * The message in `value`, or `undefined` if its op is not known.
 *
 * @throws {ProtocolError} if it is no message, or lacks a field of its op
 */
export function toMessage(value: unknown): ServerMessage | undefined {
  if (!isRecord(value) || typeof value.op !== "string") throw new ProtocolError("a message without op");
  const { op } = value;
  if (!Object.hasOwn(OPS, op)) return undefined;
  const message = fieldsOf(value, OPS[op] as string, op, { op }) as unknown as ServerMessage;
  if (message.op === "ack") message.results ??= [];
  return message;
}
