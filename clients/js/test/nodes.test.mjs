// Which node is next, without a client.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { built } from "./built.mjs";

const { Nodes } = await built("nodes");

const WAIT = 77;

/** Nodes in an order that `random` makes, and a short way to let the current one fail. */
function made(count, random = () => 0.5) {
  const urls = Array.from({ length: count }, (_, number) => String(number));
  const nodes = new Nodes(urls, random);
  const fails = ({ now = 0, askedMs = 0, mayPass = true } = {}) => nodes.failed(now, askedMs, mayPass, () => WAIT);
  return { nodes, fails };
}

describe("the next node", () => {
  it("of one node there is none without a wait", () => {
    const { nodes, fails } = made(1);
    assert.deepEqual([fails(), fails(), nodes.url], [WAIT, WAIT, "0"]);
    assert.equal(fails({ askedMs: 500 }), 500);
    assert.equal(fails({ mayPass: false }), undefined);
  });

  it("clients spread over all nodes, and those of a dead node over the others", () => {
    const first = [0, 0, 0];
    const second = [0, 0, 0];
    const orders = [
      [0.1, 0.2, 0.3],
      [0.1, 0.3, 0.2],
      [0.2, 0.1, 0.3],
      [0.3, 0.1, 0.2],
      [0.2, 0.3, 0.1],
      [0.3, 0.2, 0.1],
    ];
    for (const order of orders) {
      const { nodes, fails } = made(3, () => order.shift());
      first[Number(nodes.url)] += 1;
      assert.equal(fails(), 0);
      second[Number(nodes.url)] += 1;
    }
    assert.deepEqual(
      [first, second],
      [
        [2, 2, 2],
        [2, 2, 2],
      ],
    );
  });

  it("one that failed is the last", () => {
    const { nodes, fails } = made(3);
    fails();
    nodes.lasted();
    assert.deepEqual([nodes.url, fails(), nodes.url, fails(), nodes.url], ["1", 0, "2", 0, "0"]);
    assert.equal(fails(), WAIT);
  });

  it("it is the last if the others have failed since then", () => {
    const { nodes, fails } = made(3);
    assert.equal(nodes.isLast(0), false);
    fails({ now: 1 });
    assert.equal(nodes.isLast(0), false);
    fails({ now: 2 });
    assert.equal(nodes.isLast(0), true);
    assert.equal(nodes.isLast(2), false);
    assert.equal(made(1).nodes.isLast(0), true);
  });

  it("a connection that did not last does not begin a new round", () => {
    const { nodes, fails } = made(2);
    assert.deepEqual([fails(), fails(), nodes.url], [0, WAIT, "0"]);
    nodes.lasted();
    assert.equal(fails(), 0);
  });

  it("one that asks for time is left alone until then", () => {
    const { nodes, fails } = made(2);
    assert.deepEqual([fails({ askedMs: 5_000 }), fails(), nodes.url], [0, WAIT, "1"]);
    assert.deepEqual([fails({ now: 4_000 }), nodes.url], [WAIT, "1"]);
    assert.deepEqual([fails({ now: 4_000, askedMs: 9_000 }), nodes.url], [1_000, "0"], "the sooner of the two");
  });

  it("only a round of final refusals is the end", () => {
    const last = (...mayPass) => {
      const { fails } = made(3);
      return mayPass.map((mayPass) => fails({ mayPass })).at(-1);
    };
    assert.equal(last(false, false), 0);
    assert.equal(last(false, false, false), undefined);
    assert.equal(last(false, true, false), WAIT);
    assert.equal(last(false, true, false, false, false, false), undefined);
  });
});
