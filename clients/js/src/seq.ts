/** Numbers of messages. Up to 2^53 - 1 they are numbers, beyond that they are bigints; both compare with `<` and `>`. */

/** The number of a message in its topic. A `bigint` only beyond 2^53 - 1, which no topic reaches in practice. */
export type Seq = number | bigint;

/** The number after `seq`. */
export function next(seq: Seq): Seq {
  if (typeof seq === "bigint") return seq + 1n;
  return seq < Number.MAX_SAFE_INTEGER ? seq + 1 : BigInt(seq) + 1n;
}

/** The number before `seq`. */
export function before(seq: Seq): Seq {
  if (typeof seq === "number") return seq - 1;
  const less = seq - 1n;
  return less > Number.MAX_SAFE_INTEGER ? less : Number(less);
}

/** The higher of two numbers. */
export function highest(a: Seq, b: Seq): Seq {
  return a < b ? b : a;
}
