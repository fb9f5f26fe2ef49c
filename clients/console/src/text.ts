// What a message holds, as text that shows every digit and every character. It is never made from parsed JSON, since a
// number of JavaScript would be another number.

/** Characters that cannot be seen, or that turn the text after them around. Joiners within words and emoji stay. */
const UNSEEN = /(?![\t\n\r\u200c\u200d])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/** JSON with the unseen characters as escapes, which leaves its meaning. */
export function visible(json: string): string {
  const escape = (unit: string): string => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return json.replace(UNSEEN, (character) => character.split("").map(escape).join(""));
}

/** Where the data begins in a message of the broker. It comes last, and nothing before it holds a quotation mark. */
const start = (message: string): number => message.indexOf('"data":') + '"data":'.length;

/** The beginning of a message's data, for one line. */
export function summary(message: string, length: number): string {
  const from = start(message);
  return visible(message.slice(from, Math.min(from + length, message.length - 1)));
}

/** Whether a message's data holds `text`. */
export const holds = (message: string, text: string): boolean => message.includes(text, start(message));

const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\]:,]|[^\s{}[\]:,"]+/g;

/** JSON with a line for each member and element. */
export function indented(json: string): string {
  const parts: string[] = [];
  let depth = 0;
  let before = "";
  for (const [token] of json.matchAll(TOKEN)) {
    const isEnd = token === "}" || token === "]";
    if (isEnd) depth -= 1;
    const isEmpty = isEnd && (before === "{" || before === "[");
    if (!isEmpty && (isEnd || "{[,".includes(before || " "))) parts.push("\n", "  ".repeat(depth));
    parts.push(token === ":" ? ": " : token);
    if (token === "{" || token === "[") depth += 1;
    before = token;
  }
  return parts.join("");
}
