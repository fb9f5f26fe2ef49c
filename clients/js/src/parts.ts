/** The parts of the client that not every program needs. For pages they are files beside the bundle: `parts.page.ts`. */

import * as books from "./books.js";

/** The part for order books. */
export const booksPart = (): typeof books => books;

/** The part for server-sent events: a program that reaches its broker by WebSocket never loads it. */
export const loadStreams = (): Promise<typeof import("./sse.js")> => import("./sse.js");
