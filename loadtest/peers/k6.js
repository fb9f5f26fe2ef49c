// Subscribers for k6: CLIENTS connections to URL with a subscription to TOPIC each, until the broker closes them. The summary on
// standard output is one line of JSON with the number of updates that came to all of them.

import { WebSocket } from "k6/experimental/websockets";
import { Counter } from "k6/metrics";

const { URL, TOPIC, CLIENTS } = __ENV;
const deliveries = new Counter("deliveries");

export const options = {
  scenarios: {
    subscribers: { executor: "per-vu-iterations", vus: Number(CLIENTS), iterations: 1, maxDuration: "10m" },
  },
};

export default function () {
  const socket = new WebSocket(URL, "tickwire.v1.json");
  socket.addEventListener("open", () => {
    socket.send(JSON.stringify({ op: "subscribe", id: 1, topics: [TOPIC], mode: "every", snapshot: false }));
  });
  socket.addEventListener("message", ({ data }) => {
    if (JSON.parse(data).op === "update") deliveries.add(1);
  });
}

export function handleSummary({ metrics }) {
  return { stdout: `${JSON.stringify({ deliveries: metrics.deliveries?.values.count ?? 0 })}\n` };
}
