// Does what the lines of standard input say and prints what comes, one JSON value a line: the commands and the output of
// ../python/client.py, as far as they are needed here. A second argument has the library's options of compression.

import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const modules = process.env.TICKWIRE_TEST_NODE_MODULES ?? `${import.meta.dirname}/node_modules`;
const WebSocket = createRequire(`${modules}/`)('ws');

const say = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);

const [, , url, perMessageDeflate = 'true'] = process.argv;
const ws = new WebSocket(url, ['tickwire.v1.json'], { perMessageDeflate: JSON.parse(perMessageDeflate) });
// The answer's header: what the library makes of it says less.
let extensions = '';
ws.on('upgrade', (response) => (extensions = response.headers['sec-websocket-extensions'] ?? ''));
ws.on('open', () => say({ open: ws.protocol }));
ws.on('message', (data, isBinary) => {
  if (isBinary) throw new Error('a binary message on a JSON connection');
  say({ message: JSON.parse(data.toString()) });
});
ws.on('pong', (data) => say({ pong: data.toString() }));
ws.on('close', (code, reason) => say({ closed: { code, reason: reason.toString() } }));

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  if ('send' in command) ws.send(JSON.stringify(command.send));
  else if ('text' in command) ws.send(command.text);
  else if ('ping' in command) ws.ping(command.ping);
  else if ('extensions' in command) say({ extensions });
  else if ('close' in command) ws.close(command.close);
  else throw new Error(`no such command: ${line}`);
}
