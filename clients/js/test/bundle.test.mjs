// The browser bundle of `node build.mjs`: the conformance cases show that its shortened names are right.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { loadBundle, play } from "./play.mjs";

const cases = JSON.parse(readFileSync(new URL("../../conformance/cases.json", import.meta.url), "utf8"));
const lib = await loadBundle();
/** A browser does not tell why a handshake was refused, so the bundle does not read it. */
const isToldWhy = ({ dial }) => dial?.refuse !== undefined;

describe("conformance of the browser bundle", { concurrency: 8 }, () => {
  for (const given of cases) {
    if (!(given.codecs?.includes("json") ?? true) || given.steps.some(isToldWhy)) continue;
    it(given.name, () => play(lib, given, "json"));
  }
});

it("all classes and functions of the package are there", async () => {
  assert.deepEqual(Object.keys(globalThis.tickwire).sort(), Object.keys(await import("../dist/esm/index.js")).sort());
});
