// What TypeScript makes of the package: compiled by the tests, never run.

import {
  type Client,
  connect,
  type Event,
  type LiveBook,
  type Message,
  type Positions,
  RefusedError,
} from "@tickwire/client";
import { msgpack } from "@tickwire/client/msgpack";

interface Trade {
  price: string;
  size: string;
}

export async function example(stored: Positions): Promise<Positions> {
  const client: Client = connect(["wss://a.example/v1/ws", "wss://b.example"], {
    codec: msgpack,
    token: async () => "token",
    verifyBooks: "book.>",
  });
  client.on("disconnected", ({ loss, retryInMs }) => {
    if (loss.type === "closed") console.log(loss.code.toFixed(), retryInMs?.toFixed());
  });
  client.on("event", (event) => console.log(event.type));
  // @ts-expect-error There is no such event.
  client.on("disconnect", () => {});

  const trades = client.subscribe<Trade>("trade.*", { mode: "every", since: stored });
  const off: () => void = trades.on("message", (message: Message<Trade>) => console.log(message.data.price.length));
  off();
  // @ts-expect-error There is no such mode.
  client.subscribe("trade.*", { mode: "all" });
  for await (const event of trades) {
    const seen: Event<Trade> = event;
    switch (seen.type) {
      case "message":
        console.log(seen.data.size, seen.seq > 5);
        break;
      case "gap":
        console.log(seen.from, seen.to, seen.reason);
        break;
      case "stale":
      case "joined":
      case "end":
        console.log(seen.topic);
        break;
      case "recovered":
        console.log(seen.resumed.toFixed(), seen.notResumed.toFixed());
        break;
      case "synced":
        console.log(seen.topics.join());
        break;
      case "broken":
        console.log(seen.error.promise, seen.error.evidence);
        break;
    }
  }
  const book: LiveBook = client.book("book.BTC-USD");
  const [best] = book.topOf(1).bids;
  console.log(best?.[0].length);
  try {
    const { epoch, seq, duplicate } = await client.publish("chat.lobby", { text: "hello" }, { key: "1" });
    console.log(epoch.length, seq, duplicate === true);
  } catch (error) {
    if (error instanceof RefusedError) console.log(error.code, error.retryable);
  }
  return trades.positions();
}
