"""Ends a session over TLS in one of three ways, by OpenSSL with nothing of its own in between.

Arguments: port, CA file, TLS version ("1.2" or "1.3"), file with the request, file with the last frame, and the end:
"close_notify" reads on behind it, "bare" ends the TCP stream alone. Standard output is what came behind the 101.
"""

import socket
import ssl
import sys


class Client:
    """TLS over a socket, with both in sight."""

    def __init__(self, port, authority, version):
        context = ssl.create_default_context(cafile=authority)
        context.minimum_version = context.maximum_version = version
        self.tcp = socket.create_connection(("127.0.0.1", port), timeout=15)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="chat.test")

    def step(self, action, *arguments):
        """Does it, and reads and writes what TLS asks for meanwhile."""
        while True:
            try:
                result = action(*arguments)
                self.flush()
                return result
            except ssl.SSLWantReadError:
                self.flush()
                received = self.tcp.recv(65536)
                if received:
                    self.incoming.write(received)
                else:
                    self.incoming.write_eof()

    def flush(self):
        self.tcp.sendall(self.outgoing.read())

    def head(self):
        """The head of the answer."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.step(self.tls.read, 1)
        return head

    def say_close_notify(self):
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        self.flush()

    def rest(self):
        """Everything up to a close_notify."""
        rest = b""
        try:
            while True:
                rest += self.step(self.tls.read, 65536)
        except ssl.SSLZeroReturnError:
            return rest


def main(port, authority, version, request, frame, end):
    versions = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
    client = Client(int(port), authority, versions[version])
    client.step(client.tls.do_handshake)
    with open(request, "rb") as file:
        client.step(client.tls.write, file.read())
    assert client.head().startswith(b"HTTP/1.1 101 ")
    with open(frame, "rb") as file:
        client.step(client.tls.write, file.read())
    if end == "close_notify":
        client.say_close_notify()
        sys.stdout.buffer.write(client.rest())
    else:
        client.tcp.shutdown(socket.SHUT_WR)
        while client.tcp.recv(65536):
            pass


main(*sys.argv[1:])
