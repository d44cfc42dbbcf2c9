"""Drives a session through the gateway by Python's websockets: a line for each step that came out as it should.

Arguments: URL, CA file, Origin, file with the token. A wrong outcome is a traceback and exit code 1.
"""

import asyncio
import os
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus


async def main(url, authority, origin, token_file):
    tls = ssl.create_default_context(cafile=authority)
    with open(token_file, encoding="ascii") as file:
        token = file.read().strip()
    good = {
        "ssl": tls,
        "origin": origin,
        "subprotocols": ["chat.v2", "bearer", token],
        "compression": "deflate",
        "max_size": 1 << 25,
    }
    async with connect(url, **good) as socket:
        assert socket.subprotocol == "chat.v2", socket.subprotocol
        assert not socket.protocol.extensions, "the gateway strips extensions"
        greeting = await socket.recv()
        assert greeting == "/chat/room?lang=en alice", greeting
        print("admitted")
        for message in ("héllo", b"\x00\xff", "", "x" * 60_000, os.urandom(50_000)):
            await socket.send(message)
            assert await socket.recv() == message
        print("echoed")
        await socket.send(["in ", "three ", "fragments"])
        assert await socket.recv() == "in three fragments"
        print("fragmented")
        await (await socket.ping(b"are you there"))
        print("ponged")
        await socket.send("close me")
        try:
            await socket.recv()
        except ConnectionClosed as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (4000, "as you wish"), closed
        print("closed by the service")

    async with connect(url, **good) as socket:
        await socket.recv()
        try:
            await socket.send("y" * 70_000)
            await socket.recv()
        except ConnectionClosed as closed:
            assert closed.rcvd.code == 1009, closed
        print("too big")

    for step, wrong, status in [
        ("foreign origin", {"origin": "https://evil.example"}, 403),
        ("no token", {"subprotocols": ["chat.v2"]}, 401),
    ]:
        try:
            async with connect(url, **(good | wrong)):
                raise AssertionError(f"{step} was admitted")
        except InvalidStatus as refused:
            assert refused.response.status_code == status, refused
            print(step)


asyncio.run(main(*sys.argv[1:]))
