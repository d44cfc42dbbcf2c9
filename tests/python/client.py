"""Drives sessions through the gateway by Python's websockets: a line for each step that came out as it should.

Arguments: what to do (all, compressed, big), URL, CA file, Origin, file with the token. A wrong outcome is a traceback
and exit code 1.
"""

import asyncio
import os
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus


class Gateway:
    """Where the gateway is, and who comes to it."""

    def __init__(self, url, authority, origin, token_file):
        with open(token_file, encoding="ascii") as file:
            self.token = file.read().strip()
        self.url, self.origin = url, origin
        self.tls = ssl.create_default_context(cafile=authority)

    def open(self, query="", **changed):
        good = {
            "ssl": self.tls,
            "origin": self.origin,
            "subprotocols": ["chat.v2", "bearer", self.token],
            "max_size": 1 << 25,
        }
        return connect(self.url + query, **(good | changed))


async def closing(socket):
    """The Close frame that came."""
    try:
        await socket.recv()
    except ConnectionClosed as closed:
        return closed.rcvd.code, closed.rcvd.reason
    raise AssertionError("a message where a Close was due")


async def echoes(socket, message):
    await socket.send(message)
    assert await socket.recv() == (message if isinstance(message, (str, bytes)) else type(message[0])().join(message))


async def carriers(gateway):
    plain = {"subprotocols": ["chat.v2"]}
    for name, query, changed in [
        ("a subprotocol", "", {}),
        ("a header", "", plain | {"additional_headers": {"Authorization": f"Bearer {gateway.token}"}}),
        ("the query", f"&access_token={gateway.token}", plain),
        ("a cookie", "", plain | {"additional_headers": {"Cookie": f"session={gateway.token}; theme=dark; mood=grim"}}),
    ]:
        async with gateway.open(query, **changed) as socket:
            assert socket.subprotocol == "chat.v2", socket.subprotocol
            assert not socket.protocol.extensions, "the gateway strips extensions"
            print(f"by {name}: {await socket.recv()}")


async def messages(gateway):
    async with gateway.open() as socket:
        await socket.recv()
        for message in ("grün 🦀", b"\x00\xff", "", b"", "x" * 60_000, os.urandom(60_000)):
            await echoes(socket, message)
        print("text and binary echoed")
        await echoes(socket, ["in ", "three ", "fragments"])
        await echoes(socket, [b"\x00", b"", b"\xff"])
        await socket.send("please fragment")
        assert await socket.recv() == "in three fragments"
        print("fragments passed both ways")
        await (await socket.ping(b"are you there"))
        await socket.send("please ping")
        assert await socket.recv() == "ponged"
        print("pings answered both ways")


async def closures(gateway):
    for code in (1000, 1001, 1008, 1011, 1013, 3000, 4000, 4999):
        async with gateway.open() as socket:
            await socket.recv()
            await socket.send(f"please close {code} as you wish")
            assert await closing(socket) == (code, "as you wish"), (code, socket.close_code)
        async with gateway.open() as socket:
            await socket.recv()
            await socket.close(code, "grün, as I wish")
    print("closed by either side")


async def refusals(gateway):
    async with gateway.open() as socket:
        await socket.recv()
        await socket.send("y" * 65_537)
        code, _ = await closing(socket)
        print(f"a message too big: {code}")
    for name, query, changed in [
        ("a foreign origin", "", {"origin": "https://evil.example"}),
        ("no origin, a cookie", "", {"origin": None, "additional_headers": {"Cookie": "theme=dark"}}),
        ("no token", "", {"subprotocols": ["chat.v2"]}),
        ("half a token", "", {"subprotocols": ["chat.v2", "bearer", gateway.token[:-8]]}),
        ("two tokens", f"&access_token={gateway.token}", {}),
        ("no subprotocol of ours", "", {"subprotocols": ["chat.v9", "bearer", gateway.token]}),
    ]:
        try:
            async with gateway.open(query, **changed):
                raise AssertionError(f"{name} was admitted")
        except InvalidStatus as refused:
            print(f"{name}: {refused.response.status_code}")


async def compressed(gateway):
    async with gateway.open(compression="deflate") as socket:
        assert [extension.name for extension in socket.protocol.extensions] == ["permessage-deflate"]
        await socket.recv()
        for message in ("a" * 60_000, os.urandom(30_000), ["in ", "three ", "fragments"]):
            await echoes(socket, message)
        print("compressed messages echoed")


async def big(gateway):
    size = 16 << 20
    async with gateway.open() as socket:
        await socket.recv()
        await echoes(socket, os.urandom(size))
        print("16 MiB of binary echoed")
        await echoes(socket, "é" * (size // 2))
        print("16 MiB of text echoed")
        await echoes(socket, [os.urandom(1 << 20) for _ in range(16)])
        print("16 MiB in fragments echoed")
        await socket.send(b"y" * (size + 1))
        code, _ = await closing(socket)
        print(f"a byte more from here: {code}")
    async with gateway.open() as socket:
        await socket.recv()
        await socket.send(f"please send {size + 1}")
        code, _ = await closing(socket)
        print(f"a byte more from there: {code}")


async def main(what, *where):
    gateway = Gateway(*where)
    parts = {"all": (carriers, messages, closures, refusals), "compressed": (compressed,), "big": (big,)}
    for part in parts[what]:
        await part(gateway)


sys.stdout.reconfigure(line_buffering=True)
asyncio.run(main(*sys.argv[1:]))
