/**
 * Faults for the tests of the tests: the conformance cases must catch each. Only a build for tests knows them; in the published
 * package `PLANTED` is an empty text, and nothing of this is left.
 */

declare const PLANTED: string;

export const RESUME_FROM_WRONG_SEQ = PLANTED === "resume_from_wrong_seq";
export const GAP_SWALLOWED = PLANTED === "gap_swallowed";
export const STALE_BOOK = PLANTED === "stale_book";
