"""Does what the lines of standard input say and prints what comes, one JSON value a line.

Commands: {"send": value}, {"pad": value, "bytes": n} (sent with a field that makes it n bytes long), {"text": "…"},
{"hex": "…"}, {"ping": "…"}, {"post": url, "body": "…"} (by HTTP), {"extensions": true}, {"close": code}. Output:
{"open": subprotocol}, {"message": value}, {"pong": "…"}, {"posted": value}, {"extensions": "…"}, {"closed": {"code",
"reason"}}. A third argument has the parameters of the offer of compression, or false for none.
"""

import asyncio
import json
import sys
import urllib.request

import websockets

from wire import CODECS, connect

LINE_BYTES_MAX = 16 * 1024 * 1024


def say(**event):
    print(json.dumps(event), flush=True)


async def standard_input():
    reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def padded(codec, value, size):
    """The message, with a field that brings it to exactly this size."""
    fill = 0
    # The length of a length depends on what it is the length of, so the second guess may be off as well.
    for _ in range(4):
        message = codec.encode({**value, "pad": "x" * fill})
        if len(message) == size:
            return message
        fill += size - len(message)
    raise ValueError(f"no filling makes {size} bytes")


async def obey(ws, codec):
    lines = await standard_input()
    while line := await lines.readline():
        try:
            await do(ws, codec, json.loads(line))
        except websockets.ConnectionClosed:
            # It was told to send into a connection that the broker has closed.
            pass


async def do(ws, codec, command):
    if "send" in command:
        await ws.send(codec.encode(command["send"]))
    elif "pad" in command:
        await ws.send(padded(codec, command["pad"], command["bytes"]))
    elif "text" in command:
        await ws.send(command["text"])
    elif "hex" in command:
        await ws.send(bytes.fromhex(command["hex"]))
    elif "ping" in command:
        await (await ws.ping(command["ping"]))
        say(pong=command["ping"])
    elif "post" in command:
        request = urllib.request.Request(command["post"], data=command["body"].encode(), method="POST")
        with await asyncio.to_thread(urllib.request.urlopen, request) as answer:
            say(posted=json.load(answer))
    elif "extensions" in command:
        say(extensions=ws.response.headers.get("Sec-WebSocket-Extensions", ""))
    elif "close" in command:
        await ws.close(command["close"])
    else:
        raise ValueError(f"no such command: {command}")


async def listen(ws, codec):
    try:
        async for message in ws:
            say(message=codec.decode(message))
    except websockets.ConnectionClosedError:
        pass
    say(closed={"code": ws.close_code, "reason": ws.close_reason})


async def main(url, codec, deflate=None):
    async with connect(url, codec, deflate) as ws:
        say(open=ws.subprotocol)
        await asyncio.gather(listen(ws, codec), obey(ws, codec))


asyncio.run(main(sys.argv[1], CODECS[sys.argv[2]], *map(json.loads, sys.argv[3:])))
