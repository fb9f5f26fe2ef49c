/** Patterns of topics: the rules of NATS subjects. */

/** Whether `name` has a wildcard. */
export function isPattern(name: string): boolean {
  return name.includes("*") || name.includes(">");
}

/** Whether `pattern`, which may be a single topic, stands for `topic`. */
export function matches(pattern: string, topic: string): boolean {
  if (pattern === topic || pattern === ">") return true;
  if (!isPattern(pattern)) return false;
  const wanted = pattern.split(".");
  const tokens = topic.split(".");
  const open = wanted[wanted.length - 1] === ">";
  if (open ? tokens.length < wanted.length : tokens.length !== wanted.length) return false;
  return wanted.every((token, at) => token === "*" || token === tokens[at] || (open && at === wanted.length - 1));
}
