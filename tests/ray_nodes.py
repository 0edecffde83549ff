"""A Ray cluster on this machine, for tests of it: slow, and only where Ray is installed, which it usually is not."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from streamcab import ray_env

MARKS = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("default"),
    # Not imported to find out: it reads its environment then.
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'streamcab[ray]'"),
]


@contextmanager
def cluster(nodes: int, cpus: int, **head: object) -> Iterator[Any]:
    """A head without CPUs and `nodes` nodes of `cpus`, on loopback; `head`: more arguments of its node."""
    ray_env.prepare("127.0.0.1:1")
    os.environ.setdefault("RAY_worker_niceness", "0")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **head})
    try:
        for _ in range(nodes):
            made.add_node(num_cpus=cpus)
        made.wait_for_nodes()
        yield made
    finally:
        made.shutdown()


def processes(*words: bytes) -> list[int]:
    """Processes below this one whose command has all of these words: another suite on this machine has its own."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if all(word in command for word in words) and os.getpid() in _above(int(folder.name)):
            found.append(int(folder.name))
    return found


def _above(pid: int) -> Iterator[int]:
    """The parent of a process, the parent of that one, and so on."""
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
        except OSError:
            return
        yield pid
