"""Starting, awaiting and ending processes. Whatever is started here is ended here, by its own process group."""

import os
import random
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

READY_SECONDS = 15
END_SECONDS = 5
# Below the ports that the kernel gives to outgoing connections: those may be taken at any moment.
LISTEN_PORTS = range(20000, 32000)


class RunFailed(Exception):
    """Why there is no figure, in a sentence."""


def free_port():
    """A loopback port on which nobody listens."""
    for _ in range(100):
        port = random.choice(LISTEN_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise RunFailed("no free port was found")


@contextmanager
def running(argv, log, env=None):
    """Runs a command in a session of its own, its output in the file `log`; ends it and its children in any case."""
    with open(log, "wb") as out:
        process = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end(process)


def end(process):
    """Asks once, then insists. The group is killed even if its leader is gone: a worker may have outlived it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def end_children():
    """Ends whoever was being started when a signal came, before anybody knew his id."""
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        try:
            os.killpg(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            pass


def await_port(process, port, log):
    """Returns once somebody listens; says why if nobody does."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RunFailed(f"it ended at once with code {process.returncode}: {last_line(log)}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise RunFailed(f"nobody listened after {READY_SECONDS} s: {last_line(log)}")


def output(argv, timeout):
    """What a command printed on standard output, if it ended well in time."""
    process = subprocess.Popen(
        [str(word) for word in argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise RunFailed(f"no result after {timeout} s") from None
    finally:
        end(process)
    if process.returncode != 0:
        said = (err.strip() or out.strip() or "nothing").splitlines()[-1]
        raise RunFailed(f"code {process.returncode}: {said}")
    return out


def last_line(path):
    """The last line of a log, for an error message."""
    with open(path, "rb") as log:
        lines = log.read().decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"
