/** The parts of the client that are files beside the browser bundle. They share its shortened names, so they must be of its version. */

import { RequestError } from "./errors.js";

declare const VERSION: string;
/** What the bundle and `tickwire-books.min.js` define. */
declare const tickwire: Record<string, typeof import("./books.js") | undefined>;

/** A page loads the part for order books with an element of its own. */
export function booksPart(): typeof import("./books.js") {
  const part = tickwire[`books ${VERSION}`];
  if (!part) throw new RequestError(`order books need tickwire-books.min.js of version ${VERSION}`);
  return part;
}

/** What follows the name of the file: a cache may have one of another version. */
let suffix = `?${VERSION}`;

export async function loadStreams(): Promise<typeof import("./sse.js")> {
  const file = `./tickwire-sse.min.js${suffix}`;
  try {
    return await import(file);
  } catch (error) {
    // A browser remembers that a file could not be loaded, so the next attempt gives it another name.
    suffix += "?";
    throw error;
  }
}
