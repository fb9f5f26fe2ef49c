// The small parts: the queue of a slow program, books, patterns, messages.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { built } from "./built.mjs";

const { Book, crc32, normalDecimal } = await built("book");
const { sendAhead } = await built("ledger");
const { EventQueue } = await built("queue");
const { matches } = await built("topic");

/** A generator of numbers that are the same in each run. */
function chance(seed) {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

describe("the queue", () => {
  const message = (topic, seq, epoch = "k") => ({
    type: "message",
    topic,
    epoch,
    seq,
    ts: 1,
    data: seq,
    snapshot: false,
  });

  it("whatever a program takes and leaves, each message comes or is named, in order, and no more wait than allowed", () => {
    for (let seed = 1; seed <= 200; seed += 1) {
      const random = chance(seed);
      const max = 1 + random(8);
      const queue = new EventQueue(max);
      const published = { a: 0, b: 0, value: 0 };
      const seen = { a: 0, b: 0, value: 0 };
      const take = () => {
        const event = queue.shift();
        if (!event) return false;
        const { topic } = event;
        if (event.type === "gap") {
          assert.equal(event.from, seen[topic] + 1, `seed ${seed}`);
          seen[topic] = event.to;
        } else if (topic === "value") {
          assert.ok(event.seq > seen.value);
          seen.value = event.seq;
        } else {
          assert.equal(event.seq, seen[topic] + 1, `seed ${seed}`);
          seen[topic] = event.seq;
        }
        return true;
      };
      for (let step = 0; step < 200; step += 1) {
        const topic = ["a", "b", "value"][random(3)];
        if (random(10) === 0 && topic !== "value") {
          const from = published[topic] + 1;
          published[topic] += 3;
          queue.push({ type: "gap", topic, epoch: "k", from, to: published[topic], reason: "slow" }, false);
        } else {
          published[topic] += 1;
          queue.push(message(topic, published[topic]), topic === "value");
        }
        if (random(4) === 0) take();
      }
      let left = 0;
      while (take()) left += 1;
      assert.deepEqual(seen, published, `seed ${seed}`);
      assert.ok(left <= max + 1 + 2, "as many as may wait, the newest value, and a gap for each topic");
      assert.ok(queue.isEmpty);
    }
  });

  it("what was dropped of an older epoch does not hide that of a newer one", () => {
    const queue = new EventQueue(1);
    for (const seq of [1, 2]) queue.push(message("a", seq), false);
    for (const seq of [1, 2, 3]) queue.push(message("a", seq, "z"), false);
    const gap = queue.shift();
    assert.deepEqual([gap.epoch, gap.from, gap.to], ["z", 1, 2]);
    assert.equal(queue.shift().seq, 3);
  });
});

describe("books", () => {
  const CHECKED = "123456789";

  it("the checksum is that of PROTOCOL.md", () => {
    assert.equal(crc32(CHECKED), 0xcbf43926);
    assert.equal(crc32("50055"), 0x8f21db4f);
    const book = new Book();
    const data = { symbol: "A", bids: [["9.9", "1"]], asks: [["10.1", "2"]], checksum: 629245110, time: 1 };
    assert.equal(book.snapshot("k", 7, data), undefined);
    assert.deepEqual(book.position, { epoch: "k", seq: 7 });
  });

  it("decimals have one text each", () => {
    for (const [text, expected] of [
      ["61837.63000000", "61837.63"],
      ["007", "7"],
      ["0.0", "0"],
      ["-0", "0"],
      ["-1.50", "-1.5"],
      ["0.0000000000000000000000000001", "0.0000000000000000000000000001"],
      ["1e3", undefined],
      ["", undefined],
      [".5", undefined],
      ["5.", undefined],
      ["1.2.3", undefined],
      [" 1", undefined],
      ["12345678901234567890123456789", undefined],
      [5, undefined],
    ]) {
      assert.equal(normalDecimal(text), expected, String(text));
    }
  });

  it("a book of changes equals one made anew from the same levels, by an independent model", () => {
    for (let seed = 1; seed <= 100; seed += 1) {
      const random = chance(seed);
      const model = { bids: new Map(), asks: new Map() };
      const book = new Book();
      book.begin("k");
      for (let seq = 1; seq <= 40; seq += 1) {
        const change = { symbol: "A", bids: [], asks: [], time: seq };
        for (let i = 0; i < 5; i += 1) {
          const side = random(2) ? "bids" : "asks";
          // Prices whose doubles are equal, and prices of different lengths.
          const price = [`${random(30)}.${1 + random(9)}`, `1000000000000000.000000000${1 + random(9)}`][random(2)];
          const size = String(random(3));
          change[side].push([price, size]);
          if (size === "0") model[side].delete(price);
          else model[side].set(price, size);
        }
        const byPrice = ([a], [b]) => {
          const scaled = (text) => {
            const [whole, fraction = ""] = text.split(".");
            return BigInt(whole + fraction.padEnd(12, "0"));
          };
          return scaled(a) < scaled(b) ? -1 : 1;
        };
        const asks = [...model.asks].sort(byPrice);
        const bids = [...model.bids].sort(byPrice).reverse();
        const digits = ([price, size]) => price.replace(".", "").replace(/^0+/, "") + size;
        change.checksum = crc32([...asks.slice(0, 10), ...bids.slice(0, 10)].map(digits).join(""));
        assert.equal(book.update(seq, change), undefined, `seed ${seed}`);
        assert.deepEqual([book.bids, book.asks], [bids, asks]);
        assert.deepEqual(book.topOf(2), { bids: bids.slice(0, 2), asks: asks.slice(0, 2) });
      }
    }
  });

  it("what does not fit makes the book stale, and it shows nothing", () => {
    const good = { symbol: "A", bids: [["9.9", "1"]], asks: [["10.1", "2"]], checksum: 629245110, time: 1 };
    const cases = [
      [8, { ...good, checksum: 1 }, "wrong_checksum"],
      [9, good, "hole"],
      [7, good, "hole"],
      [8, {}, "malformed"],
      [8, null, "malformed"],
      [8, { ...good, bids: "no" }, "malformed"],
      [8, { ...good, bids: [["1"]] }, "malformed"],
      [8, { ...good, bids: [["x", "1"]] }, "malformed"],
      [8, { ...good, bids: [["-1", "1"]] }, "bad_level"],
      [8, { ...good, bids: Array.from({ length: 16_385 }, (_, i) => [String(i + 1), "1"]) }, "too_many_levels"],
    ];
    for (const [seq, data, expected] of cases) {
      const book = new Book();
      book.snapshot("k", 7, good);
      assert.equal(book.update(seq, data).fault, expected);
      assert.ok(book.isStale);
      assert.deepEqual(book.topOf(10), { bids: [], asks: [] });
      assert.equal(book.update(seq + 1, good).fault, "no_snapshot");
      assert.equal(book.snapshot("k", 20, good), undefined);
    }
  });
});

it("patterns match as NATS subjects do", () => {
  for (const [pattern, topic, expected] of [
    ["trade.*", "trade.A", true],
    ["trade.*", "trade.A.B", false],
    ["trade.*", "trade", false],
    ["trade.>", "trade.A.B", true],
    ["trade.>", "trade", false],
    [">", "a.b.c", true],
    ["*.A", "x.A", true],
    ["*.A", "x.B", false],
    ["trade.*.EU", "trade.BTC.EU", true],
    ["trade.*.EU", "trade.EU", false],
    ["a", "a", true],
    ["a", "ab", false],
  ]) {
    assert.equal(matches(pattern, topic), expected, `${pattern} ${topic}`);
  }
});

it("positions that do not fit go ahead, none is lost and none is too long", () => {
  const seqs = Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`trade.${i}`, i]));
  const topics = [
    {
      topic: "trade.*",
      since: [
        { epoch: "k", seqs },
        { epoch: "z", seqs: { "trade.other": 1 } },
      ],
    },
  ];
  const messages = sendAhead(topics, 1_024);
  assert.deepEqual(topics, ["trade.*"]);
  const found = messages
    .flat()
    .flatMap(({ epoch, seqs }) => Object.entries(seqs).map(([topic, seq]) => `${epoch} ${topic} ${seq}`));
  assert.equal(new Set(found).size, 501);
  for (const since of messages) {
    assert.ok(JSON.stringify({ op: "positions", id: 2 ** 32, since }).length <= 1_024);
  }
});
