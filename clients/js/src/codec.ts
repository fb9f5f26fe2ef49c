/**
 * The codecs: how messages become bytes and back. JSON is built in; MessagePack is `@tickwire/client/msgpack`.
 *
 * Integers of data are exact: one beyond 2^53 - 1 is a `bigint`, in both codecs and both directions. Other numbers are the
 * doubles of JavaScript; texts, such as prices, stay texts.
 */

import { ProtocolError, RequestError } from "./errors.js";
import type { Request } from "./types.js";

/** A codec. Pass one as the option `codec`. */
export interface Codec {
  /** The WebSocket subprotocol that asks for it. */
  readonly subprotocol: string;
  /** A request as the payload of a text or binary message. */
  encode(request: Request): string | Uint8Array<ArrayBuffer>;
  /** The value in a message's payload. Throws {@link ProtocolError} if it holds none. */
  decode(payload: string | ArrayBuffer): unknown;
}

/** Something that may be an integer beyond 2^53 - 1 outside of a text, or looks so inside of one. */
const LARGE = /[[:,\s]-?(?:\d{17,}|9\d{15})\s*[,\]}]/;
const TOKENS = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** A text that no foreign text contains, except by guessing 100 bits. */
function mark(): string {
  return `bigint ${Math.random()} ${Math.random()} `;
}

/** `JSON.parse` that rounds no integer. */
export function parseJson(text: string): unknown {
  if (!LARGE.test(text)) return JSON.parse(text);
  const large = mark();
  const marked = text.replace(TOKENS, (token) =>
    /^-?\d+$/.test(token) && !Number.isSafeInteger(Number(token)) ? `"${large}${token}"` : token,
  );
  return JSON.parse(marked, (_, value: unknown) =>
    typeof value === "string" && value.startsWith(large) ? BigInt(value.slice(large.length)) : value,
  );
}

/**
 * `JSON.stringify` that loses nothing silently.
 *
 * @throws {RequestError} for infinities and NaN, and if nothing of the value can be written
 */
export function toJson(value: unknown): string {
  const large = mark();
  let hasLarge = false;
  const text = JSON.stringify(value, (_, part: unknown) => {
    if (typeof part === "bigint") {
      hasLarge = true;
      return large + part;
    }
    if (typeof part === "number" && !Number.isFinite(part)) throw new RequestError(`${part} cannot be published`);
    return part;
  }) as string | undefined;
  if (text === undefined) throw new RequestError(`${typeof value} cannot be published`);
  return hasLarge ? text.replaceAll(new RegExp(`"${large.replaceAll(".", "\\.")}(-?\\d+)"`, "g"), "$1") : text;
}

/** JSON, the default codec. */
export const json: Codec = {
  subprotocol: "tickwire.v1.json",
  encode: (request) => toJson(request),
  decode(payload) {
    if (typeof payload !== "string") throw new ProtocolError("a binary message came");
    try {
      return parseJson(payload);
    } catch (error) {
      throw new ProtocolError(`a message is no JSON: ${(error as Error).message}`);
    }
  },
};
