/**
 * MessagePack, as the protocol uses it: `connect(url, { codec: msgpack })`.
 *
 * Lengths are checked before anything is allocated, and nesting is bounded. Extension types and binary data may stand in
 * fields that the client does not know; they become {@link Extension} and `Uint8Array`.
 */

import type { Codec } from "./codec.js";
import { ProtocolError, RequestError } from "./errors.js";
import type { Request } from "./types.js";

/** A value of an extension type. */
export interface Extension {
  type: number;
  bytes: Uint8Array;
}

/** Data is at most 64 deep; fields that the client does not know may be deeper. */
const DEPTH_MAX = 512;
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const toUtf8 = new TextEncoder();

class Decoder {
  private at = 0;
  private readonly view: DataView;

  constructor(private readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get isAtEnd(): boolean {
    return this.at === this.bytes.length;
  }

  private take(count: number): number {
    const at = this.at;
    if (count > this.bytes.length - at) throw new ProtocolError("a message ends in the middle of a value");
    this.at += count;
    return at;
  }

  private unsigned(size: number): number {
    const at = this.take(size);
    if (size === 1) return this.view.getUint8(at);
    return size === 2 ? this.view.getUint16(at) : this.view.getUint32(at);
  }

  private large(value: bigint): number | bigint {
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : value;
  }

  private raw(length: number): Uint8Array {
    const at = this.take(length);
    return this.bytes.slice(at, at + length);
  }

  private text(length: number): string {
    const at = this.take(length);
    // Most texts are short ASCII, for which this is faster than a TextDecoder.
    if (length < 24) {
      let text = "";
      for (let i = at; i < at + length; i += 1) {
        const byte = this.bytes[i] as number;
        if (byte > 0x7f) break;
        text += String.fromCharCode(byte);
      }
      if (text.length === length) return text;
    }
    try {
      return utf8.decode(this.bytes.subarray(at, at + length));
    } catch {
      throw new ProtocolError("a text of a message is not UTF-8");
    }
  }

  private list(length: number, depth: number): unknown[] {
    if (length > this.bytes.length - this.at) throw new ProtocolError("a list is longer than its message");
    const list: unknown[] = [];
    for (let i = 0; i < length; i += 1) list.push(this.value(depth));
    return list;
  }

  private map(length: number, depth: number): Record<string, unknown> {
    if (length * 2 > this.bytes.length - this.at) throw new ProtocolError("a map is longer than its message");
    const map: Record<string, unknown> = {};
    for (let i = 0; i < length; i += 1) {
      const key = this.value(depth);
      const value = this.value(depth);
      const name = typeof key === "string" ? key : typeof key === "number" ? String(key) : undefined;
      if (name === undefined) continue; // only in fields that nobody reads
      if (name === "__proto__") {
        Object.defineProperty(map, name, { value, enumerable: true, configurable: true, writable: true });
      } else {
        map[name] = value;
      }
    }
    return map;
  }

  private extension(length: number): Extension {
    const type = this.view.getInt8(this.take(1));
    return { type, bytes: this.raw(length) };
  }

  value(depth = 0): unknown {
    if (depth > DEPTH_MAX) throw new ProtocolError("a message is nested too deeply");
    const tag = this.unsigned(1);
    if (tag < 0x80) return tag;
    if (tag >= 0xe0) return tag - 0x100;
    if (tag < 0x90) return this.map(tag & 0x0f, depth + 1);
    if (tag < 0xa0) return this.list(tag & 0x0f, depth + 1);
    if (tag < 0xc0) return this.text(tag & 0x1f);
    switch (tag) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.raw(this.unsigned(1 << (tag - 0xc4)));
      case 0xc7:
      case 0xc8:
      case 0xc9:
        return this.extension(this.unsigned(1 << (tag - 0xc7)));
      case 0xca:
        return this.view.getFloat32(this.take(4));
      case 0xcb:
        return this.view.getFloat64(this.take(8));
      case 0xcc:
      case 0xcd:
      case 0xce:
        return this.unsigned(1 << (tag - 0xcc));
      case 0xcf:
        return this.large(this.view.getBigUint64(this.take(8)));
      case 0xd0:
        return this.view.getInt8(this.take(1));
      case 0xd1:
        return this.view.getInt16(this.take(2));
      case 0xd2:
        return this.view.getInt32(this.take(4));
      case 0xd3:
        return this.large(this.view.getBigInt64(this.take(8)));
      case 0xd4:
      case 0xd5:
      case 0xd6:
      case 0xd7:
      case 0xd8:
        return this.extension(1 << (tag - 0xd4));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.text(this.unsigned(1 << (tag - 0xd9)));
      case 0xdc:
      case 0xdd:
        return this.list(this.unsigned(tag === 0xdc ? 2 : 4), depth + 1);
      case 0xde:
      case 0xdf:
        return this.map(this.unsigned(tag === 0xde ? 2 : 4), depth + 1);
      default:
        throw new ProtocolError(`byte 0x${tag.toString(16)} begins no value of MessagePack`);
    }
  }
}

class Encoder {
  private bytes = new Uint8Array(256);
  private view = new DataView(this.bytes.buffer);
  private length = 0;

  get result(): Uint8Array<ArrayBuffer> {
    return this.bytes.slice(0, this.length);
  }

  /** Makes room for `count` more bytes. It comes before anything is written: it may replace the buffer. */
  private reserve(count: number): void {
    const needed = this.length + count;
    if (needed <= this.bytes.length) return;
    const bytes = new Uint8Array(Math.max(needed, this.bytes.length * 2));
    bytes.set(this.bytes);
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer);
  }

  /** Writes a tag with `size` bytes behind it, for which there is room. Returns where these are. */
  private tag(tag: number, size: 0 | 1 | 2 | 4 | 8 = 0): number {
    this.view.setUint8(this.length, tag);
    const at = this.length + 1;
    this.length = at + size;
    return at;
  }

  /** A length: `small` is the tag of one below `limit`, `tag8` to `tag32` are those of longer ones. */
  private head(length: number, small: number, limit: number, tags: [number, number, number]): void {
    if (length < limit) this.tag(small | length);
    else if (length < 0x100 && tags[0]) this.view.setUint8(this.tag(tags[0], 1), length);
    else if (length < 0x10000) this.view.setUint16(this.tag(tags[1], 2), length);
    else this.view.setUint32(this.tag(tags[2], 4), length);
  }

  private text(text: string): void {
    const bytes = toUtf8.encode(text);
    // The encoder puts U+FFFD in place of half a surrogate pair; the broker could not tell.
    if (bytes.length !== text.length && utf8.decode(bytes) !== text) {
      throw new RequestError("a text with half a surrogate pair cannot be published");
    }
    this.reserve(5 + bytes.length);
    this.head(bytes.length, 0xa0, 32, [0xd9, 0xda, 0xdb]);
    this.bytes.set(bytes, this.length);
    this.length += bytes.length;
  }

  private integer(value: number | bigint): void {
    if (value >= 0) {
      if (value < 0x80) this.tag(Number(value));
      else if (value < 0x100) this.view.setUint8(this.tag(0xcc, 1), Number(value));
      else if (value < 0x10000) this.view.setUint16(this.tag(0xcd, 2), Number(value));
      else if (value < 0x1_0000_0000) this.view.setUint32(this.tag(0xce, 4), Number(value));
      else if (value < 2n ** 64n) this.view.setBigUint64(this.tag(0xcf, 8), BigInt(value));
      else throw new RequestError(`${value} has no place in 64 bits; publish it as a text`);
    } else if (value >= -0x20) this.tag(Number(value) & 0xff);
    else if (value >= -0x80) this.view.setInt8(this.tag(0xd0, 1), Number(value));
    else if (value >= -0x8000) this.view.setInt16(this.tag(0xd1, 2), Number(value));
    else if (value >= -0x8000_0000) this.view.setInt32(this.tag(0xd2, 4), Number(value));
    else if (value >= -(2n ** 63n)) this.view.setBigInt64(this.tag(0xd3, 8), BigInt(value));
    else throw new RequestError(`${value} has no place in 64 bits; publish it as a text`);
  }

  /** Writes `value` by the rules of `JSON.stringify`: `toJSON` counts, and what is undefined is left out. */
  value(given: unknown, depth = 0): void {
    if (depth > DEPTH_MAX) throw new RequestError("a value is nested too deeply, or contains itself");
    const value = (given as { toJSON?: unknown } | null)?.toJSON instanceof Function ? (given as Date).toJSON() : given;
    this.reserve(9);
    if (value === null) this.tag(0xc0);
    else if (typeof value === "boolean") this.tag(value ? 0xc3 : 0xc2);
    else if (typeof value === "string") this.text(value);
    else if (typeof value === "bigint") this.integer(value);
    else if (typeof value === "number") {
      if (!Number.isFinite(value)) throw new RequestError(`${value} cannot be published`);
      if (Number.isSafeInteger(value) && !Object.is(value, -0)) this.integer(value);
      else this.view.setFloat64(this.tag(0xcb, 8), value);
    } else if (Array.isArray(value)) {
      this.head(value.length, 0x90, 16, [0, 0xdc, 0xdd]);
      for (const item of value) this.value(isWritable(item) ? item : null, depth + 1);
    } else if (typeof value === "object") {
      const entries = Object.entries(value).filter(([, item]) => isWritable(item));
      this.head(entries.length, 0x80, 16, [0, 0xde, 0xdf]);
      for (const [name, item] of entries) {
        this.text(name);
        this.value(item, depth + 1);
      }
    } else throw new RequestError(`${typeof value} cannot be published`);
  }
}

function isWritable(value: unknown): boolean {
  return value !== undefined && typeof value !== "function" && typeof value !== "symbol";
}

/** The value in `bytes`, all of them. */
export function decode(bytes: Uint8Array): unknown {
  const decoder = new Decoder(bytes);
  const value = decoder.value();
  if (!decoder.isAtEnd) throw new ProtocolError("bytes follow the value of a message");
  return value;
}

/** `value` as MessagePack. */
export function encode(value: unknown): Uint8Array<ArrayBuffer> {
  const encoder = new Encoder();
  encoder.value(value);
  return encoder.result;
}

/** The codec of MessagePack. */
export const msgpack: Codec = {
  subprotocol: "tickwire.v1.msgpack",
  encode: (request: Request) => encode(request),
  decode(payload) {
    if (typeof payload === "string") throw new ProtocolError("a text message came in place of a binary one");
    const value = decode(new Uint8Array(payload));
    if (!Array.isArray(value)) return value;
    const [kind] = value;
    if (kind === 0 && value.length >= 5) {
      const [, topic, seq, ts, data] = value;
      return { op: "update", topic, seq, ts, data };
    }
    if (kind === 1 && value.length >= 6) {
      const [, topic, epoch, seq, ts, data] = value;
      return { op: "snapshot", topic, epoch, seq, ts, data };
    }
    throw new ProtocolError("a list is neither an update nor a snapshot");
  },
};
