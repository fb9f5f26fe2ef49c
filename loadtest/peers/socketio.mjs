// A server with Socket.IO on Node: a room for each topic.
//
// The event `sub` with an array of topics joins their rooms and is acknowledged with their number; the event `pub` with a
// topic and a payload publishes. A subscriber gets the event `m` with the payload. Socket.IO has no limit for data that waits
// for a slow socket. One line on standard output gives the port and the version when the server accepts connections.
// PEER_TLS_CERT and PEER_TLS_KEY in the environment name the files for TLS.

import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { readFileSync } from "node:fs";
import { Server } from "socket.io";

const { PEER_TLS_CERT, PEER_TLS_KEY } = process.env;
const http = PEER_TLS_CERT
  ? createTlsServer({ cert: readFileSync(PEER_TLS_CERT), key: readFileSync(PEER_TLS_KEY) })
  : createServer();
const io = new Server(http, { transports: ["websocket"], perMessageDeflate: false, serveClient: false });

// Socket.IO's documentation advises this to save memory: the request of the handshake is no longer needed.
io.engine.on("connection", (connection) => {
  connection.request = null;
});

io.on("connection", (socket) => {
  socket.on("sub", (topics, confirm) => {
    socket.join(topics);
    confirm(topics.length);
  });
  socket.on("pub", (topic, payload) => {
    io.to(topic).emit("m", payload);
  });
});

http.listen(0, "127.0.0.1", () => {
  const { version } = JSON.parse(readFileSync(new URL("node_modules/socket.io/package.json", import.meta.url)));
  const line = { port: http.address().port, version: `Socket.IO ${version} on Node ${process.versions.node}` };
  console.log(JSON.stringify(line));
});
