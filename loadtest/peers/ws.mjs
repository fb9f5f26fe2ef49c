// A server with ws on Node: a set of sockets for each topic.
//
// Text messages: `sub a,b,c` subscribes and is answered with `ok 3`; `pub TOPIC PAYLOAD` publishes. A subscriber gets
// only payloads. A text message can also be JSON, `{"op":"publish","topic":TOPIC,"data":…}`: it is read and passed on as it
// came. A message's frame is made once and written to all sockets, as Socket.IO uses ws; send() would make the
// frame again for each socket. ws has no limit for data that waits for a slow socket. One line on
// standard output gives the port and the version when the server accepts connections.
//
// With PEER_DEFLATE in the environment, messages are compressed. ws does that in send(), for each socket. PEER_TLS_CERT and
// PEER_TLS_KEY name the files for TLS.

import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { readFileSync } from "node:fs";
import { Sender, WebSocket, WebSocketServer } from "ws";

const TEXT = 1;
const topics = new Map();
const { PEER_DEFLATE, PEER_TLS_CERT, PEER_TLS_KEY } = process.env;
const deflate = PEER_DEFLATE !== undefined;
const perMessageDeflate = deflate && {
  threshold: 0,
  serverNoContextTakeover: true,
  clientNoContextTakeover: true,
};

function subscribe(socket, names) {
  for (const name of names) {
    let sockets = topics.get(name);
    if (sockets === undefined) topics.set(name, (sockets = new Set()));
    sockets.add(socket);
    socket.topics.push(name);
  }
  socket.send(`ok ${names.length}`);
}

function publish(topic, payload) {
  const sockets = topics.get(topic);
  if (sockets === undefined) return;
  if (deflate) {
    for (const socket of sockets) {
      if (socket.readyState === WebSocket.OPEN) socket.send(payload, { binary: false });
    }
    return;
  }
  const parts = Sender.frame(payload, { fin: true, rsv1: false, opcode: TEXT, mask: false, readOnly: false });
  // One buffer, so that each socket is written to once.
  const frame = [Buffer.concat(parts)];
  for (const socket of sockets) {
    if (socket.readyState === WebSocket.OPEN) socket._sender.sendFrame(frame);
  }
}

function leave(socket) {
  for (const name of socket.topics) {
    const sockets = topics.get(name);
    sockets?.delete(socket);
    if (sockets?.size === 0) topics.delete(name);
  }
}

const http = PEER_TLS_CERT
  ? createTlsServer({ cert: readFileSync(PEER_TLS_CERT), key: readFileSync(PEER_TLS_KEY) })
  : createServer();
const server = new WebSocketServer({ server: http, perMessageDeflate });

server.on("connection", (socket) => {
  socket.topics = [];
  socket.on("message", (message) => {
    const command = message.latin1Slice(0, 4);
    if (command === '{"op') {
      const { op, topic } = JSON.parse(message);
      if (op !== "publish") socket.close(1008, "not publish");
      publish(topic, message);
    } else if (command === "pub ") {
      const end = message.indexOf(32, 4);
      publish(message.latin1Slice(4, end), message.subarray(end + 1));
    } else if (command === "sub ") {
      subscribe(socket, message.toString("utf8", 4).split(","));
    } else {
      socket.close(1008, "neither sub nor pub");
    }
  });
  socket.on("close", () => leave(socket));
  // A broken connection also gets "close". Without this listener Node would end the process.
  socket.on("error", () => {});
});

http.listen(0, "127.0.0.1", () => {
  const { version } = JSON.parse(readFileSync(new URL("node_modules/ws/package.json", import.meta.url)));
  const line = { port: http.address().port, version: `ws ${version} on Node ${process.versions.node}` };
  console.log(JSON.stringify(line));
});
