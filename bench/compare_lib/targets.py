"""Who is measured, and how each is started: one worker thread, TLS 1.3, its own documented configuration."""

import re
import shutil
from dataclasses import dataclass
from typing import Callable

from .processes import RunFailed, output

GATEWAY, PEER, YARDSTICK = "gateway", "peer", "yardstick"


@dataclass(frozen=True)
class Target:
    """One program under measurement."""

    name: str
    kind: str
    about: str
    program: str  # what is looked for on PATH, unless it is built here
    command: Callable  # (program, site, port, backend, pending) -> argv; wsgate's takes the number of threads, too
    version: tuple = ()  # the arguments that make it print its version
    env: tuple = ()  # (name, value) pairs
    tls: bool = True
    credential: bool = False  # whether the client must bring a token
    refuses: bool = False  # whether it judges the Origin


def _wsgate(program, site, port, backend, pending, threads=1):
    config = site.fill_in("wsgate/gateway.toml", PORT=port, PENDING=pending, THREADS=threads)
    site.fill_in("wsgate/policies/bench.toml", BACKEND=backend)
    return [program, "run", "--config", config]


def _nginx(program, site, port, backend, _pending):
    config = site.fill_in("peers/nginx.conf", PORT=port, BACKEND=backend)
    return [program, "-e", "stderr", "-p", site.folder, "-c", config]


def _haproxy(program, site, port, backend, _pending):
    return [program, "-db", "-f", site.fill_in("peers/haproxy.cfg", PORT=port, BACKEND=backend)]


def _envoy(program, site, port, backend, _pending):
    config = site.fill_in("peers/envoy.yaml", PORT=port, BACKEND=backend)
    return [program, "-c", config, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]


def _caddy(program, site, port, backend, _pending):
    config = site.fill_in("peers/Caddyfile", PORT=port, BACKEND=backend)
    return [program, "run", "--adapter", "caddyfile", "--config", config]


def _naive(program, site, port, backend, _pending):
    files = ["--cert", site.certs / "server.pem", "--key", site.certs / "server.key"]
    return [program, "naive", "--listen", f"127.0.0.1:{port}", "--to", f"127.0.0.1:{backend}", *files]


def _floor(program, _site, port, backend, _pending):
    return [program, "floor", "--listen", f"127.0.0.1:{port}", "--to", f"127.0.0.1:{backend}"]


def _drop(program, _site, port, _backend, _pending):
    return [program, "drop", "--listen", f"127.0.0.1:{port}"]


TARGETS = (
    Target("wsgate", GATEWAY, "judges origin, token, caps, every frame, rates, deadlines", "wsgate", _wsgate,
           version=("--version",), credential=True, refuses=True),
    Target("nginx", PEER, "judges the Origin, then splices", "nginx", _nginx, version=("-v",), refuses=True),
    Target("haproxy", PEER, "judges the Origin, then splices", "haproxy", _haproxy, version=("-v",), refuses=True),
    Target("envoy", PEER, "judges the Origin, then splices", "envoy", _envoy, version=("--version",), refuses=True),
    Target("caddy", PEER, "judges the Origin, then splices", "caddy", _caddy, version=("version",), refuses=True,
           env=(("GOMAXPROCS", "1"),)),
    Target("naive", YARDSTICK, "tokio-rustls and copy_bidirectional, judges nothing", "wsgate-bench", _naive),
    Target("floor", YARDSTICK, "a bare TCP relay without TLS, judges nothing", "wsgate-bench", _floor, tls=False),
    Target("drop", YARDSTICK, "accepts a connection and drops it", "wsgate-bench", _drop, tls=False),
)


def find(target, built):
    """The program of a target, or `None`; `built` maps names of programs built here to their paths."""
    return built.get(target.program) or shutil.which(target.program)


def version(target, program):
    """The version in what a program says of itself."""
    if not target.version:
        return "of this tree"
    try:
        # Some say it on standard error.
        said = output(["sh", "-c", 'exec "$@" 2>&1', "sh", program, *target.version], timeout=20)
    except RunFailed as failure:
        return f"unknown ({failure})"
    found = re.search(r"\d+\.\d+\.\d+\S*", said.split("version:")[-1])  # a path may hold another one
    return found.group() if found else "unknown"
