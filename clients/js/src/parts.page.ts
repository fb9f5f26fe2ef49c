/** The parts of the client that are files beside the browser bundle. */

import { RequestError } from "./errors.js";

/** What the bundle and `tickwire-books.min.js` define. */
declare const tickwire: { booksPart?: typeof import("./books.js") };

/** A page loads the part for order books with an element of its own. */
export function booksPart(): typeof import("./books.js") {
  if (!tickwire.booksPart) throw new RequestError("order books need tickwire-books.min.js");
  return tickwire.booksPart;
}

let again = "";

export async function loadStreams(): Promise<typeof import("./sse.js")> {
  const file = `./tickwire-sse.min.js${again}`;
  try {
    return await import(file);
  } catch (error) {
    // A browser remembers that a file could not be loaded, so the next attempt gives it another name.
    again += "?";
    throw error;
  }
}
