// The codecs: what goes in comes out, exactly, and what is no message is refused.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { built } from "./built.mjs";

const { json, parseJson, toJson } = await built("codec");
const { toMessage } = await built("message");
const { decode, encode, msgpack } = await built("msgpack");

const VALUES = [
  null,
  true,
  false,
  0,
  -1,
  127,
  128,
  255,
  256,
  65_535,
  65_536,
  2 ** 32 - 1,
  2 ** 32,
  Number.MAX_SAFE_INTEGER,
  2n ** 53n,
  2n ** 64n - 1n,
  -32,
  -33,
  -128,
  -129,
  -32_768,
  -32_769,
  -(2 ** 31),
  -(2 ** 31) - 1,
  -(2n ** 63n),
  0.1,
  -1.5e300,
  "",
  "a",
  "x".repeat(31),
  "x".repeat(32),
  "x".repeat(300),
  "ü".repeat(70_000),
  [],
  {},
  Array.from({ length: 20 }, (_, i) => i),
  Object.fromEntries(Array.from({ length: 70_000 }, (_, i) => [`k${i}`, i])),
  [[[{ a: [null, { b: "c" }] }]]],
];

describe("MessagePack", () => {
  it("every value comes back as it was", () => {
    for (const value of VALUES) assert.deepEqual(decode(encode(value)), value);
  });

  it("values that cross the end of the encoder's buffer are whole", () => {
    for (let fill = 200; fill < 300; fill += 1) {
      const value = ["x".repeat(fill), 2n ** 60n, 1.5, "tail", { k: -(2 ** 40) }];
      assert.deepEqual(decode(encode(value)), value);
    }
  });

  it("a name that means something to JavaScript is a name", () => {
    const value = JSON.parse('{"__proto__": {"polluted": 1}, "constructor": 2}');
    const back = decode(encode(value));
    assert.deepEqual(Object.keys(back), ["__proto__", "constructor"]);
    assert.equal({}.polluted, undefined);
  });

  it("what JSON leaves out or changes is left out and changed here, too", () => {
    const value = { when: new Date(0), gone: undefined, list: [undefined, () => 1], f() {} };
    assert.deepEqual(decode(encode(value)), JSON.parse(JSON.stringify(value)));
  });

  it("what cannot be carried is refused", () => {
    const circle = [];
    circle.push(circle);
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, "\ud800", 2n ** 64n, -(2n ** 63n) - 1n, circle]) {
      assert.throws(() => encode(value), { name: "RequestError" });
    }
  });

  it("foreign bytes never do more than throw, and allocate nothing for a false length", () => {
    const hostile = [
      [],
      [0xc1],
      [0xdd, 0xff, 0xff, 0xff, 0xff],
      [0xdf, 0xff, 0xff, 0xff, 0xff],
      [0xdb, 0xff, 0xff, 0xff, 0xff],
      [0xc6, 0xff, 0xff, 0xff, 0xff],
      [0xc9, 0xff, 0xff, 0xff, 0xff, 1],
      [0xa1, 0xff],
      [0x92, 1],
      [0xc0, 0xc0],
      Array.from({ length: 100_000 }, () => 0x91),
    ];
    for (const bytes of hostile) assert.throws(() => decode(Uint8Array.from(bytes)), { name: "ProtocolError" });
    // Every prefix of a message, and every message with one byte changed.
    const message = encode({
      op: "gap",
      topic: "a",
      epoch: "k",
      from: 1,
      to: 2n ** 60n,
      list: [1.5, null, { x: "y" }],
    });
    for (let at = 0; at < message.length; at += 1) {
      assert.throws(() => decode(message.slice(0, at)), { name: "ProtocolError" });
      for (const byte of [0, 0x80, 0xc1, 0xdf, 0xff]) {
        const changed = message.slice();
        changed[at] = byte;
        try {
          decode(changed);
        } catch (error) {
          assert.equal(error.name, "ProtocolError");
        }
      }
    }
  });

  it("extension types and binary data may stand where nobody reads", () => {
    const bytes = Uint8Array.from([0x82, 0xa2, 0x6f, 0x70, 0xa1, 0x78, 0xa1, 0x79, 0xd4, 5, 7]);
    assert.deepEqual(decode(bytes), { op: "x", y: { type: 5, bytes: Uint8Array.of(7) } });
  });
});

describe("JSON", () => {
  it("integers beyond 2^53 - 1 are exact, and texts that look like them are texts", () => {
    const texts = [
      '{"a":9007199254740993,"b":[18446744073709551615,-9223372036854775808],"c":"9007199254740993","d":1.5}',
      '{"say \\"x\\":12345678901234567890,":12345678901234567890}',
      "[9007199254740991,9007199254740992]",
    ];
    for (const text of texts) assert.equal(toJson(parseJson(text)), text);
    assert.deepEqual(parseJson(texts[2]), [9007199254740991, 9007199254740992n]);
    assert.equal(typeof parseJson('{"ts":1723118400000000}').ts, "number");
  });

  it("what would be lost silently is refused", () => {
    for (const value of [Number.NaN, [Number.NEGATIVE_INFINITY], undefined, () => 1]) {
      assert.throws(() => toJson(value), { name: "RequestError" });
    }
  });
});

it("both codecs read the same message", () => {
  const update = { op: "update", topic: "a", seq: 2n ** 60n, ts: 1, data: { n: 2n ** 60n } };
  const packed = encode([0, update.topic, update.seq, update.ts, update.data]);
  assert.deepEqual(toMessage(msgpack.decode(packed.buffer)), update);
  assert.deepEqual(toMessage(json.decode(toJson(update))), update);
  assert.equal(toMessage({ op: "toString" }), undefined, "an op is no property of an object");
  assert.throws(() => json.decode(new ArrayBuffer(1)), { name: "ProtocolError" });
  assert.throws(() => msgpack.decode("{}"), { name: "ProtocolError" });
});
