"""Holds many connections at once. Prints {"open": n} when all have subscribed and {"closes": {code: count}} at their end."""

import asyncio
import collections
import json
import sys

import websockets

from wire import Json, connect


async def member(url, subscribed):
    async with connect(url, Json) as ws:
        await ws.send(Json.encode({"op": "subscribe", "id": 1, "topics": ["ticker.>"]}))
        while Json.decode(await ws.recv())["op"] != "ack":
            pass
        subscribed.release()
        try:
            async for _ in ws:
                pass
        except websockets.ConnectionClosedError:
            pass
        return f"{ws.close_code} {ws.close_reason}"


async def main(url, size):
    subscribed = asyncio.Semaphore(0)
    members = [asyncio.create_task(member(url, subscribed)) for _ in range(size)]
    for _ in members:
        await subscribed.acquire()
    print(json.dumps({"open": size}), flush=True)
    closes = collections.Counter(await asyncio.gather(*members))
    print(json.dumps({"closes": closes}), flush=True)


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
