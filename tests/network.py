"""Two network namespaces with a cable between them that can be pulled out. Knows nothing of streamcab."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

EAR, MOUTH = "02:00:00:00:00:01", "02:00:00:00:00:02"


class Cable:
    """A veth pair: `receiver` (10.77.0.1, interface cab0) hears, `sender` (10.77.0.2) speaks. Names of namespaces."""

    def __init__(self, receiver: str, sender: str) -> None:
        self.receiver, self.sender = receiver, sender

    def inside(self, namespace: str, *words: str) -> tuple[str, ...]:
        """A command as it runs in a namespace."""
        return ("ip", "netns", "exec", namespace, *words)

    def link(self, state: str) -> None:
        """Take the receiver's end `down` or `up`."""
        ip("-n", self.receiver, "link", "set", "cab0", state)

    def plug(self) -> None:
        """The interfaces are there, with their addresses."""
        ends = (
            ("cab0", "netns", self.receiver),
            ("type", "veth", "peer", "name", "cab1", "netns", self.sender),
        )
        ip("link", "add", *ends[0], *ends[1])
        for namespace, end, address in (
            (self.receiver, "cab0", "10.77.0.1/24"),
            (self.sender, "cab1", "10.77.0.2/24"),
        ):
            ip("-n", namespace, "link", "set", end, "address", EAR if end == "cab0" else MOUTH)
            ip("-n", namespace, "address", "add", address, "dev", end)
            ip("-n", namespace, "link", "set", end, "up")
            ip("-n", namespace, "link", "set", "lo", "up")
            ip("-n", namespace, "route", "add", "224.0.0.0/4", "dev", end)
        # Known for good: else the kernel keeps packets of an outage and delivers some of them after it.
        to_ear = ("10.77.0.1", "lladdr", EAR, "nud", "permanent")
        ip("-n", self.sender, "neighbour", "replace", *to_ear, "dev", "cab1")

    def unplug(self) -> None:
        """The interfaces are gone, with all that they were set to."""
        ip("-n", self.receiver, "link", "delete", "cab0")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)


@contextmanager
def cable() -> Iterator[Cable]:
    """A cable, plugged; the test is skipped where the kernel grants none."""
    if shutil.which("ip") is None:
        pytest.skip("no namespaces without ip: apt install iproute2")
    here = Cable(f"receiver{os.getpid()}", f"sender{os.getpid()}")
    made = []
    try:
        for name in (here.receiver, here.sender):
            ip("netns", "add", name)
            made.append(name)
        here.plug()
    except subprocess.CalledProcessError as error:
        for name in made:
            ip("netns", "delete", name)
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    try:
        yield here
    finally:
        for name in made:
            ip("netns", "delete", name)
