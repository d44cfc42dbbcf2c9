"""What is measured, with what load, and which figure is to be reached."""

from dataclasses import dataclass

from .targets import GATEWAY, PEER, YARDSTICK

# Silent connections that fill wsgate's cap of pending ones, which is its default.
PENDING_CAP = 128
# More than the cap: the probe that waited for the port may hold a place for a moment.
HELD = PENDING_CAP + 8
# Above every load.
PENDING_OPEN = 9000


@dataclass(frozen=True)
class Measure:
    """One kind of load. `value` names the figure that is compared; less is better in all of them."""

    name: str
    title: str
    unit: str
    load: str  # the subcommand of `wsgate-bench load`
    arguments: tuple
    value: str
    peer_at_most: float | None = None  # wsgate's ratio to the best peer
    yardstick: str | None = None
    yardstick_at_most: float | None = None
    group: str = ""  # what `--measure` calls it, if not by name
    pending: int = PENDING_OPEN

    def suits(self, target):
        """Whether this target can be measured so."""
        if self.load == "dropped":
            return target.kind == GATEWAY or target.name == "drop"
        if target.name == "drop":
            return False
        if self.group == "growth":
            return target.kind == GATEWAY
        return target.refuses if self.load == "refused" else target.kind in (GATEWAY, PEER, YARDSTICK)

    def settings(self):
        """The load in words."""
        pairs = zip(self.arguments[::2], self.arguments[1::2])
        return ", ".join(f"{name.removeprefix('--').replace('-', ' ')} {value}" for name, value in pairs)


def measures(quick):
    """All measures in the order of the tables. `quick` asks for less of each."""
    seconds, warmup = (1, 1) if quick else (5, 1)
    idle, growth, handshakes = (1000, (500, 1000, 2000), 500) if quick else (4000, (500, 1000, 2000, 4000, 8000), 2000)

    def echo(name, title, size, connections, in_flight, peer, floor):
        arguments = ("--size", size, "--connections", connections, "--in-flight", in_flight,
                     "--seconds", seconds, "--warmup", warmup)
        return Measure(name, title, "us", "echo", arguments, "cpu_us_per_message", peer, "floor", floor)

    return (
        echo("echo128", "128 B", 128, 32, 1, 0.90, 1.10),
        echo("echo128x8", "128 B, 8 in flight", 128, 32, 8, 0.95, 1.30),
        echo("echo4k", "4 KiB", 4096, 32, 1, 0.85, 1.25),
        echo("echo64k", "64 KiB", 65536, 8, 1, 0.72, 1.7),
        echo("echo1m", "1 MiB", 1048576, 4, 1, 0.78, 1.3),
        Measure("idle", "idle connection", "KiB", "idle", ("--connections", idle, "--size", 4096),
                "pss_bytes_per_connection", 0.36),
        Measure("handshake", "handshake", "us", "handshake", ("--count", handshakes, "--concurrency", 16),
                "cpu_us_per_handshake", 0.90),
        Measure("refused", "refused handshake", "us", "refused", ("--count", handshakes, "--concurrency", 16),
                "cpu_us_per_refusal", 0.75),
        Measure("dropped", "dropped before TLS", "us", "dropped", ("--count", 5000, "--held", HELD),
                "cpu_us_per_drop", None, "drop", 1.3, pending=PENDING_CAP),
        *(Measure(f"growth{count}", f"{count} connections", "KiB", "idle", ("--connections", count, "--size", 4096),
                  "pss_bytes_per_connection", group="growth") for count in growth),
    )
