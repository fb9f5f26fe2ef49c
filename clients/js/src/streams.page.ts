/** As `streams.ts`, for the browser bundle: its server-sent events are a file beside it. */

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
