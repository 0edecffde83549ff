"""Ports for a process that must be told its port before it starts."""

import random
import socket
from contextlib import ExitStack
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_draw = random.SystemRandom()


def free_port(count: int = 1) -> int:
    """Return an even port of the loopback that is free for UDP and TCP, as are the `count - 1` after it.

    It lies below the range from which the kernel serves whoever binds port 0, so that no other test is given it
    before the process has it, and above the default ports of streamcab.
    """
    lowest = int(_RANGE.read_text(encoding="utf-8").split()[0]) if _RANGE.exists() else 32768
    span = range(10_240, lowest if lowest > 12_000 else 65_000, 2)
    for _ in range(1_000):
        port = _draw.choice(span)
        if _all_free(range(port, port + count)):
            return port
    raise AssertionError(f"no {count} free ports side by side")


def _all_free(ports: range) -> bool:
    with ExitStack() as stack:
        for port in ports:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                try:
                    stack.enter_context(socket.socket(socket.AF_INET, kind)).bind(("127.0.0.1", port))
                except OSError:
                    return False
    return True
