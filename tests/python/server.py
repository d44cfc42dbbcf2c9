"""A service by Python's websockets: prints its port, then serves until its standard input ends.

It greets with what reached it, echoes every message, and does what a text message that begins with "please " asks for.
Each closure that it sees is a line: the code and the reason of the other side's Close frame.
"""

import asyncio
import sys

from websockets.asyncio.server import serve


async def obey(connection, request):
    match request.split(" ", 3)[1:]:
        case ["close", code, reason]:
            await connection.close(int(code), reason)
        case ["ping"]:
            await (await connection.ping(b"are you there"))
            await connection.send("ponged")
        case ["fragment"]:
            await connection.send(["in ", "three ", "fragments"])
        case ["send", size]:
            await connection.send(b"z" * int(size))


async def serve_one(connection):
    request = connection.request
    told = [request.headers.get(name, "-") for name in ("x-user-id", "cookie", "authorization")]
    await connection.send(" ".join([request.path, *told]))
    async for message in connection:
        if isinstance(message, str) and message.startswith("please "):
            await obey(connection, message)
        else:
            await connection.send(message)


async def greet(connection):
    try:
        await serve_one(connection)
    finally:
        await connection.wait_closed()
        closed = connection.protocol.close_rcvd
        print(f"{closed.code} {closed.reason}" if closed else "lost", flush=True)


async def main():
    options = {"subprotocols": ["chat.v2"], "compression": "deflate", "max_size": 1 << 25}
    async with serve(greet, "127.0.0.1", 0, **options) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
