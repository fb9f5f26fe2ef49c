/** The shell of a WebSocket: what happens on it goes to {@link Hearing}. */

import type { Failure } from "./core.js";
import type { Request, ServerMessage } from "./types.js";

/** What a link tells. After `failed` or `closed` it tells nothing more. */
export interface Hearing {
  message(payload: string | ArrayBuffer): void;
  /** A message that the link has read by itself. */
  heard(message: ServerMessage): void;
  /** The answer to a request that went another way; `undefined` if there was none. */
  answered(id: number, message: ServerMessage | undefined): void;
  closed(code: number, reason: string): void;
  failed(failure: Failure): void;
  /** The broker was reached over HTTP. */
  probed(): void;
}

/** A connection, or an attempt to make one. */
export interface Link {
  send(payload: string | Uint8Array<ArrayBuffer>, request: Request): void;
  close(): void;
}

/** The part of a WebSocket that the client uses. That of browsers, and those of Node's `ws`, Deno and Bun, have it. */
export interface WebSocketLike {
  binaryType: string;
  readonly readyState: number;
  send(data: string | ArrayBufferView<ArrayBuffer>): void;
  close(code?: number, reason?: string): void;
  addEventListener(type: string, listener: (event: never) => void): void;
}

export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocketLike;

/** What `ws` of Node has beyond the standard. */
interface NodeSocket {
  on?(type: "unexpected-response", listener: (request: unknown, response: NodeResponse) => void): void;
  terminate?(): void;
}

interface NodeResponse {
  statusCode?: number;
  headers: Record<string, string | string[] | undefined>;
}

/** Whether this is the browser bundle. */
declare const PAGE: boolean;

/** How long a close may take before the connection is cut. */
const CLOSE_MS = 2_000;

export function openSocket(construct: WebSocketConstructor, url: string, protocols: string[], hearing: Hearing): Link {
  const socket = new construct(url, protocols);
  const more = socket as WebSocketLike & NodeSocket;
  socket.binaryType = "arraybuffer";
  let isOpen = false;
  let isOver = false;
  let cut: ReturnType<typeof setTimeout> | undefined;
  const failed = (failure: Failure): void => {
    if (!isOver) hearing.failed(failure);
    isOver = true;
  };
  socket.addEventListener("open", () => {
    isOpen = true;
  });
  socket.addEventListener("message", (event: { data: string | ArrayBuffer }) => {
    if (!isOver) hearing.message(event.data);
  });
  socket.addEventListener("close", (event: { code: number; reason: string }) => {
    if (!PAGE) clearTimeout(cut);
    if (!isOpen) failed({ reason: event.reason || `the connection was not made (${event.code})` });
    if (!isOver) hearing.closed(event.code, event.reason);
    isOver = true;
  });
  // Browsers do not tell why a connection was not made.
  if (!PAGE) {
    socket.addEventListener("error", (event: { message?: string }) => {
      if (!isOpen) failed({ reason: event.message || "the connection was not made" });
    });
    more.on?.("unexpected-response", (_, { statusCode, headers }) => {
      const status = statusCode ?? 0;
      const after = Number(headers["retry-after"]);
      failed({
        reason: `the connection was refused with HTTP status ${status}`,
        status,
        ...(after > 0 && { retryAfterMs: after * 1_000 }),
      });
      more.terminate?.();
    });
  }
  return {
    send: (payload) => socket.send(payload as string),
    close() {
      isOver = true;
      // A page may send no other code but those of its own.
      socket.close(1000);
      if (!PAGE && more.terminate) cut = setTimeout(() => more.terminate?.(), CLOSE_MS);
    },
  };
}

/** The address of the broker's HTTP interface, for the URL of its WebSocket; `undefined` if it has another path. */
export function httpBase(url: string): string | undefined {
  const found = /^ws([^?#]+)\/ws([?#]|$)/.exec(url);
  return found ? `http${found[1]}` : undefined;
}
