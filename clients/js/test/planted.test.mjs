// Faults that are planted into the client: the conformance cases must catch each.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { load, play } from "./play.mjs";

const cases = JSON.parse(readFileSync(new URL("../../conformance/cases.json", import.meta.url), "utf8"));

describe("planted faults", () => {
  for (const [planted, group] of [
    ["resume_from_wrong_seq", "resume."],
    ["gap_swallowed", "gap."],
    ["stale_book", "book."],
  ]) {
    it(`${planted} is caught`, async () => {
      const [whole, faulty] = [await load(), await load(planted)];
      const caught = [];
      for (const given of cases) {
        const isPlayed = given.name.startsWith(group) && (given.codecs?.includes("json") ?? true);
        if (!isPlayed || caught.length > 0) continue;
        await play(faulty, given, "json").then(
          () => {},
          () => caught.push(given),
        );
      }
      assert.equal(caught.length, 1, `no case of ${group} has caught it`);
      await play(whole, caught[0], "json");
    });
  }
});
