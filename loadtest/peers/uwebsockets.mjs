// uWebSockets as built into Bun, with its own publish and subscribe.
//
// Text messages: `sub a,b,c` subscribes and is answered with `ok 3`; `pub TOPIC PAYLOAD` publishes. A subscriber gets
// only payloads. Backpressure has Bun's default: data that does not fit in a socket's 16 MiB is dropped. One line on
// standard output gives the port and the version when the server accepts connections.
//
// With PEER_DEFLATE in the environment, messages are compressed by one compressor that all connections share.

const deflate = process.env.PEER_DEFLATE !== undefined;

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch(request, server) {
    if (!server.upgrade(request)) return new Response("WebSocket only", { status: 426 });
  },
  websocket: {
    perMessageDeflate: deflate,
    idleTimeout: 0,
    message(socket, message) {
      const command = message.slice(0, 4);
      if (command === "pub ") {
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

console.log(JSON.stringify({ port: server.port, version: `uWebSockets in Bun ${Bun.version}` }));
