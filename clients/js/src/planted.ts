/**
 * Faults for the tests of the tests: the conformance cases must catch each. Only a build for tests knows them; in the published
 * package `PLANTED` is an empty text, and nothing of this is left.
 */

declare const PLANTED: string;

/** Whether the fault `name` is planted. */
export function planted(name: "resume_from_wrong_seq" | "gap_swallowed" | "stale_book"): boolean {
  return PLANTED === name;
}
