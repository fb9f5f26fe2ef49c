/** Loads server-sent events where they are needed: a program that reaches its broker by WebSocket never does. */

export const loadStreams = (): Promise<typeof import("./sse.js")> => import("./sse.js");
