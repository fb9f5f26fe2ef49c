// Plays the conformance cases of all clients (clients/conformance/README.md) with this one, in both codecs.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { after, describe, it } from "node:test";
import { ABILITIES, load, play } from "./play.mjs";

const file = process.env.TICKWIRE_CONFORMANCE ?? new URL("../../conformance/cases.json", import.meta.url);
const cases = JSON.parse(readFileSync(file, "utf8"));
const lib = await load(process.env.TICKWIRE_PLANTED);
const only = process.env.TICKWIRE_CASE;
const report = { client: "js", cases: cases.length, plays: 0, lacking: {}, failed: [] };

describe("conformance", { concurrency: 8 }, () => {
  for (const given of cases) {
    for (const need of given.needs ?? []) {
      if (!ABILITIES.includes(need)) report.lacking[need] = (report.lacking[need] ?? 0) + 1;
    }
    if (only && !given.name.startsWith(only)) continue;
    for (const codec of given.codecs ?? ["json", "msgpack"]) {
      it(`${given.name} (${codec})`, async () => {
        report.plays += 1;
        try {
          await play(lib, given, codec);
        } catch (error) {
          report.failed.push({ name: given.name, codec, why: error.message });
          throw error;
        }
      });
    }
  }
});

it("every ability that a case needs is there", () => assert.deepEqual(report.lacking, {}));

after(() => {
  const target = process.env.TICKWIRE_CONFORMANCE_REPORT;
  if (target) writeFileSync(target, `${JSON.stringify(report)}\n`);
});
