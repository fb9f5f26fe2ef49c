// The client of the chaos run (clients/conformance/README.md): reads topics through a bad network, and writes a line for each
// event. TICKWIRE_PLANTED names a fault to plant.
//
//     node test/chaos.mjs --url ws://127.0.0.1:40123/v1/ws --codec json|msgpack --mode every|conflate NAME…

import { parseArgs } from "node:util";
import WebSocket from "ws";
import { built } from "./built.mjs";

const { values, positionals: names } = parseArgs({
  allowPositionals: true,
  options: { url: { type: "string" }, codec: { type: "string" }, mode: { type: "string" } },
});
const planted = process.env.TICKWIRE_PLANTED ?? "";
const { connect } = await built("index", planted);
const { msgpack } = await built("msgpack", planted);

const say = (line) =>
  process.stdout.write(`${JSON.stringify(line, (_, v) => (typeof v === "bigint" ? Number(v) : v))}\n`);

const client = connect(values.url, {
  WebSocket,
  ...(values.codec === "msgpack" && { codec: msgpack }),
  sse: false,
  firstWaitMs: 20,
  maxWaitMs: 2_000,
  connectTimeoutMs: 30_000,
  requestTimeoutMs: 600_000,
  verifyBooks: "book.>",
});

const retryOf = ({ retryInMs }) => (retryInMs === undefined ? "never" : "backoff");

/** What proves the content of a message: its own number, or the larger of the sizes at the top of its book. */
function proof({ topic, data }) {
  if (!topic.startsWith("book.")) return data.n;
  const book = client.bookOf(topic);
  if (book.isStale) return null;
  const { bids, asks } = book.topOf(1);
  return Math.max(...[...bids, ...asks].map(([, size]) => Number(size)));
}

client.on("event", (event) => {
  const { type: kind, topic } = event;
  switch (kind) {
    case "connected":
      return say({ kind });
    case "granted":
      for (const { topic, epoch, seq, matched, error } of event.results) {
        say({ kind: "ack", topic, epoch, seq, matched, error: error?.code });
      }
      return;
    case "recovered":
      return say({ kind, topic, resumed: event.resumed, not_resumed: event.notResumed });
    case "message": {
      const { epoch, seq, snapshot } = event;
      return say(
        snapshot
          ? { kind: "snapshot", topic, epoch, seq, n: proof(event) }
          : { kind: "update", topic, seq, n: proof(event) },
      );
    }
    case "gap": {
      const { epoch, from, to, reason } = event;
      return say({ kind, topic, epoch, from, to, reason });
    }
    case "joined":
      return say({ kind, topic, epoch: event.epoch, seq: event.seq });
    case "unresumed":
      return say({ kind, topic, now: event.now });
    case "disconnected":
      return say({ kind, retry: retryOf(event), why: JSON.stringify(event.loss) });
    case "failed":
      return say({ kind: "connect_failed", retry: retryOf(event), why: JSON.stringify(event.loss) });
    case "broken":
      return say({ kind: "violation", violation: event.error.promise, topic, why: event.error.message });
    case "error":
      return say({ kind, why: `${event.code}: ${event.reason}` });
    case "refused":
      return say({ kind: "error", why: event.error.message });
    default:
      return undefined;
  }
});

// The listener above takes everything; the subscription keeps nothing for `for await`.
client.subscribe(names, { mode: values.mode }).on("event", () => {});

process.stdin.resume();
process.stdin.on("end", () => {
  client.close();
  process.exitCode = 0;
});
