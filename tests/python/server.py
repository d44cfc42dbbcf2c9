"""An echo service by Python's websockets: prints its port, then serves until its standard input ends."""

import asyncio
import sys

from websockets.asyncio.server import serve


async def echo(connection):
    request = connection.request
    await connection.send(f"{request.path} {request.headers.get('x-user-id', '-')}")
    async for message in connection:
        if message == "close me":
            await connection.close(4000, "as you wish")
            return
        await connection.send(message)


async def main():
    async with serve(echo, "127.0.0.1", 0, subprotocols=["chat.v2"], compression="deflate", max_size=1 << 25) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
