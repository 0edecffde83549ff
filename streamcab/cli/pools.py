"""`listen` in several processes: `--workers` on this machine, `--ray` on many. Called by cli/listen.py."""

import secrets
import threading
from contextlib import closing
from typing import TYPE_CHECKING

from streamcab.config.tree import Listen

if TYPE_CHECKING:
    from streamcab.daemon.session import Screen
    from streamcab.daemon.settings import Settings
    from streamcab.daemon.sidecars import Extras
    from streamcab.source.rtp import RtpSource


def listen_in_workers(
    o: Listen,
    settings: "Settings",
    calls: "RtpSource",
    count: int,
    stop: threading.Event,
    extras: "Extras",
    screen: "Screen | None",
) -> None:
    """Serve in `count` processes until `stop`. `calls` is not started: workers are. WorkerError: they cannot."""
    from streamcab.daemon.session import attend
    from streamcab.nn.device import threads_for_many
    from streamcab.ops.notify import from_environment
    from streamcab.workers.base import Beside
    from streamcab.workers.pool import WorkerPool

    systemd = from_environment()
    beside = Beside(extras.run or secrets.token_hex(6), extras.told, extras.counters(), systemd)
    threads = o.net.threads or threads_for_many(count)
    pool = WorkerPool(o, settings, calls.spread(count), threads, beside)
    attend(pool, [calls], settings, stop, screen, systemd, extras)


def listen_on_ray(
    o: Listen,
    address: str,
    settings: "Settings",
    calls: "RtpSource",
    stop: threading.Event,
    extras: "Extras",
    screen: "Screen | None",
) -> None:
    """Serve in shards on the Ray cluster at `address` until `stop`. `calls` is not started: shards are."""
    from streamcab.cli.shard import Shard
    from streamcab.daemon.session import attend
    from streamcab.ops.notify import from_environment
    from streamcab.shards.allocator import Allocator
    from streamcab.shards.api import Api
    from streamcab.shards.pool import ShardPool
    from streamcab.shards.ray_cluster import RayCluster
    from streamcab.workers.base import Beside

    s = o.shards
    allocator, systemd = Allocator(s.shards), from_environment()
    beside = Beside(extras.run or secrets.token_hex(6), extras.told, extras.counters(), systemd)
    with (
        closing(Api(s.allocate, s.allocate_token)) as api,
        closing(RayCluster(address, s.shards, Shard)) as cluster,
    ):
        pool = ShardPool(o, settings, cluster.shards(), allocator, beside)
        with api.beside(allocator):
            attend(pool, [calls], settings, stop, screen, systemd, extras)
