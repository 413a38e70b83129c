"""A WebSocket's echo server behind the proxy, and a client before it, both of the `websockets` package.

Prints the server's port, reads the proxy's URL from standard input, and then says what it saw.
"""

import asyncio
import json
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def main():
    async with serve(echo, "127.0.0.1", 0, subprotocols=["chat"], max_size=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        url, authority = json.loads(sys.stdin.readline())
        context = ssl.create_default_context(cafile=authority) if authority else None
        async with connect(
            url, subprotocols=["chat"], ssl=context, server_hostname="shop.example" if context else None, max_size=None
        ) as client:
            messages = ["hello", b"\x00\xff" * 10, "x" * 300_000, b"y" * 1_000_000, ""]
            for message in messages:
                await client.send(message)
            for message in messages:
                assert await asyncio.wait_for(client.recv(), 10) == message
            await asyncio.wait_for(await client.ping(), 10)
            print(json.dumps({"subprotocol": client.subprotocol, "messages": len(messages)}), flush=True)


asyncio.run(main())
