"""`listen` in several processes: `--workers` on this machine, `--ray` on many. Called by cli/listen.py."""

import logging
import secrets
import threading
from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from streamcab.config.tree import Listen

if TYPE_CHECKING:
    from streamcab.daemon.session import Screen
    from streamcab.daemon.settings import Settings
    from streamcab.daemon.sidecars import Extras
    from streamcab.source import Source


log = logging.getLogger("streamcab.workers")


def listen_in_workers(
    o: Listen,
    settings: "Settings",
    calls: "Sequence[Source]",
    count: int,
    stop: threading.Event,
    extras: "Extras",
    screen: "Screen | None",
) -> None:
    """Serve in `count` processes until `stop`. `calls` are not started: workers are. WorkerError: they cannot."""
    from streamcab.daemon.session import attend
    from streamcab.nn.device import threads_for_many
    from streamcab.ops.notify import from_environment
    from streamcab.rtp.ports import Ports
    from streamcab.source.rtp import RtpSource
    from streamcab.workers.base import Beside
    from streamcab.workers.pool import WorkerPool

    systemd = from_environment()
    beside = Beside(extras.run or secrets.token_hex(6), extras.told, extras.counters(), systemd)
    own: dict[str, object] = {"threads": o.net.threads or threads_for_many(count)}
    ports = [Ports(()) for _ in range(count)]
    with ExitStack() as kept:
        for source in calls:
            if isinstance(source, RtpSource):
                ports = source.spread(count)
            else:
                from streamcab.source.media import MediaSource  # it needs the extra `web`

                assert isinstance(source, MediaSource)
                reserved = kept.enter_context(closing(source.reserve()))
                at = len(o.media.media)
                own["media"], own["audiosocket"] = reserved.addresses[:at], reserved.addresses[at:]
                log.info("media: %d workers serve at %s", count, ", ".join(reserved.addresses))
        pool = WorkerPool(o, settings, ports, own, beside)
        attend(pool, calls, settings, stop, screen, systemd, extras)


def listen_on_ray(
    o: Listen,
    address: str,
    settings: "Settings",
    calls: "Sequence[Source]",
    stop: threading.Event,
    extras: "Extras",
    screen: "Screen | None",
) -> None:
    """Serve in shards on the Ray cluster at `address` until `stop`. `calls` are not started: shards are."""
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
            attend(pool, calls, settings, stop, screen, systemd, extras)
