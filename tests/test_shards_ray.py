"""`listen --ray`: two nodes on this machine, a shard and a node killed under calls.

Slow, and only where Ray is installed (`pip install 'streamcab[ray]'`), which is not so in the tests' usual environment.
"""

import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import ray_nodes
from patience import PATIENCE_S
from patience import until as until_true
from ports import free_port
from ray_nodes import MARKS
from serving import running, save_model
from speech import SMALL_STAGES, tiny_model
from test_workers import Calling, hear, names, speech

from streamcab.feed import Subscriber
from streamcab.message import AnyMessage, DaemonStatus, Status
from streamcab.nn.checkpoint import Checkpoint

pytestmark = MARKS


@pytest.fixture(scope="module")
def cluster() -> Iterator[object]:
    """Three nodes of one CPU, whose deaths are noticed within seconds."""
    quick = {
        "health_check_initial_delay_ms": 0,
        "health_check_period_ms": 1000,
        "health_check_timeout_ms": 1000,
    }
    with ray_nodes.cluster(3, 1, _system_config=quick) as made:
        yield made


@contextmanager
def listening(address: str, folder: Path) -> Iterator[tuple[int, str]]:
    """A daemon of two shards; the port of its API, and its feed."""
    port, model = free_port(), save_model(Checkpoint(tiny_model(1, stages=SMALL_STAGES), {}), folder)
    endpoint = f"ipc://{folder}/feed.ipc"
    words = ("--ray", address, "--shards", "2", "--rtp", "0.0.0.0:0", "--allocate", f"127.0.0.1:{port}")
    words += ("--model", model, "--endpoint", endpoint, "--quiet", "--log-file", folder / "log")
    with running("listen", *words) as process:
        until_true(lambda: process.poll() is not None or states(port) == ["serving"] * 2)
        assert process.poll() is None, process.stderr.read()  # type: ignore[union-attr]
        yield port, endpoint
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0


def states(port: int) -> list[str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/shards", timeout=60) as answer:
            return [row["state"] for row in json.loads(answer.read())]
    except OSError:
        return []


def place(port: int) -> dict:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/calls", method="POST")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def actors() -> list[int]:
    return ray_nodes.processes(b"ray::Actor")


def test_calls_of_a_shard_or_a_node_that_dies_end_and_others_go_on(cluster, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("r")
    with listening(cluster.address, folder) as (port, endpoint), Subscriber(endpoint) as feed:
        one, two = place(port), place(port)
        assert {one["shard"], two["shard"]} == {1, 2}
        heard: list[AnyMessage] = []
        with Calling(one["port"], speech(5.0, [0x10])), Calling(two["port"], speech(5.0, [0x12])):
            hear(feed, heard, lambda: len(names(heard)) == 2)
            for kill in (
                lambda: os.kill(actors()[0], signal.SIGKILL),
                lambda: cluster.remove_node(busy(cluster), False),
            ):
                before = len(heard)
                kill()
                hear(
                    feed,
                    heard,
                    lambda: any(
                        isinstance(m, Status) and m.state == "ended" and "its shard was lost" in m.detail
                        for m in heard[before:]  # noqa: B023 - within the turn
                    ),
                )
                until_true(lambda: states(port) == ["serving"] * 2)
                hear(feed, heard, lambda: isinstance(heard[-1], DaemonStatus))
                again = place(port)
                with Calling(again["port"], speech(5.0, [0x20 + before])):
                    hear(feed, heard, lambda: any(f"{0x20 + before:08x}" in m.stream for m in heard))  # noqa: B023


def busy(cluster) -> object:
    """A node that has an actor."""
    import ray

    parents = {int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) for pid in actors()}
    assert ray is not None
    for node in cluster.worker_nodes:
        if node.all_processes["raylet"][0].process.pid in parents:
            return node
    raise AssertionError("no node has an actor")
