// uWebSockets as built into Bun, with its own publish and subscribe.
//
// Text messages: `sub a,b,c` subscribes and is answered with `ok 3`; `pub TOPIC PAYLOAD` publishes. A subscriber gets
// only payloads. A text message can also be JSON, `{"op":"publish","topic":TOPIC,"data":…}`: it is read and passed on as it
// came. So is each line `{"topic":TOPIC,"data":…}` of the body of `POST /v1/publish`. Backpressure has Bun's default: data that does not fit in a socket's 16 MiB is dropped. One line on
// standard output gives the port and the version when the server accepts connections.
//
// With PEER_DEFLATE in the environment, messages are compressed by one compressor that all connections share. PEER_TLS_CERT and
// PEER_TLS_KEY name the files for TLS.

const { PEER_DEFLATE, PEER_TLS_CERT, PEER_TLS_KEY } = process.env;
const deflate = PEER_DEFLATE !== undefined;
const tls = PEER_TLS_CERT && { cert: Bun.file(PEER_TLS_CERT), key: Bun.file(PEER_TLS_KEY) };

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  tls,
  fetch(request, server) {
    if (request.method === "POST") return publishLines(request);
    if (!server.upgrade(request)) return new Response("WebSocket only", { status: 426 });
  },
  websocket: {
    perMessageDeflate: deflate,
    idleTimeout: 0,
    message(socket, message) {
      const command = message.slice(0, 4);
      if (command === '{"op') {
        const { op, topic } = JSON.parse(message);
        if (op !== "publish") socket.close(1008, "not publish");
        server.publish(topic, message, deflate);
      } else if (command === "pub ") {
        const end = message.indexOf(" ", 4);
        server.publish(message.slice(4, end), message.slice(end + 1), deflate);
      } else if (command === "sub ") {
        const topics = message.slice(4).split(",");
        for (const topic of topics) socket.subscribe(topic);
        socket.send(`ok ${topics.length}`);
      } else {
        socket.close(1008, "neither sub nor pub");
      }
    },
  },
});

async function publishLines(request) {
  const lines = (await request.text()).trimEnd().split("\n");
  for (const line of lines) server.publish(JSON.parse(line).topic, line, deflate);
  return Response.json({ published: lines.length });
}

console.log(JSON.stringify({ port: server.port, version: `uWebSockets in Bun ${Bun.version}` }));
