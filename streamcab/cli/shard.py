"""The work of each actor of `listen --ray`: a pool of workers that follows orders from streamcab/shards/pool.py.

Every method but `end` returns at once. Knows nothing of Ray: shards/ray_cluster.py makes the actor.
"""

import secrets
import threading
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from streamcab.calls import Entry
from streamcab.errors import StreamcabError
from streamcab.message import DaemonStatus, ModelInfo, encode
from streamcab.shards.remote import Orders, Report, orders_of
from streamcab.workers.process import Told, unpacked

if TYPE_CHECKING:
    from streamcab.config.tree import Listen
    from streamcab.workers.pool import WorkerPool

EVERYWHERE = ("0.0.0.0", "[::]", "*")
"""Hosts in place of which a shard takes the address of its machine."""
NOT_HERE = ("keys", "ipc_group", "store", "webhook", "redis", "nats", "web", "jsonl", "ray")
"""Settings that the pool of shards carries out itself."""
WAITING = 100_000
"""Entries that wait for the pool at most; the oldest go first."""


class Shard:
    """A shard on the machine whose address is `host`."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._life = secrets.token_hex(8)
        self._lock = threading.Lock()
        self._report = Report(self._life, "idle")
        self._told: deque[Told] = deque(maxlen=WAITING)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._pool: WorkerPool | None = None

    def report(self) -> bytes:
        """Return a `Report`, as JSON."""
        with self._lock:
            told = [self._told.popleft() for _ in range(len(self._told))]
            return msgspec.json.encode(msgspec.structs.replace(self._report, told=told))

    def begin(self, orders: bytes) -> None:
        """Serve under these orders from now on, and no more under those before."""
        given = orders_of(orders)
        self._stop.set()
        before, self._stop = self._thread, threading.Event()
        self._say(Report(self._life, "loading", given.floor))
        self._thread = threading.Thread(target=self._serve, args=(given, self._stop, before), name="shard")
        self._thread.start()

    def retune(self, settings: dict[str, Any]) -> None:
        """Give the workers new settings."""
        if self._pool is not None:
            self._pool.retune(self._local(unpacked(settings)))

    def end(self) -> None:
        """Publish the last messages of all calls, and return after that."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _say(self, report: Report) -> None:
        with self._lock:
            self._report = report

    def _local(self, o: "Listen") -> "Listen":
        """Return the settings as they are on this machine."""
        from streamcab.config.setting import build, values_of
        from streamcab.config.tree import Listen

        values = values_of(o)
        host = f"[{self._host}]" if ":" in self._host else self._host
        values |= dict.fromkeys(NOT_HERE) | {"endpoint": f"tcp://{host}:*"}
        at = [address.rpartition(":") for address in values["rtp"]]
        values["rtp"] = tuple(f"{host if place in EVERYWHERE else place}:{port}" for place, _, port in at)
        return build(Listen, values)

    def _serve(self, orders: Orders, stop: threading.Event, before: threading.Thread | None) -> None:
        if before is not None:
            before.join()
        try:
            self._run(orders, stop)
        except StreamcabError as error:
            self._say(Report(self._life, "failed", orders.floor, error=str(error), code=error.exit_code))

    def _run(self, orders: Orders, stop: threading.Event) -> None:
        from streamcab.cli.listen import settings_for
        from streamcab.cli.sources import rtp_source
        from streamcab.feed.curve import OneClient, Pair
        from streamcab.nn.device import threads_for_many, workers_for
        from streamcab.workers.base import Beside
        from streamcab.workers.pool import WorkerPool

        o = self._local(unpacked(orders.settings))
        count = workers_for(o.rtp.workers)
        public, secret = (key.encode("ascii") for key in orders.pair)
        keys = OneClient(Pair(public, secret), orders.client.encode("ascii"))
        ports = rtp_source(o).spread(count)

        def status(status: DaemonStatus) -> None:
            said = Report(self._life, "serving", orders.floor, ports[0].bound, pool.endpoint)
            self._say(msgspec.structs.replace(said, status=encode(status).decode()))

        def tell(entry: Entry | ModelInfo) -> None:
            self._told.append(Told(model=entry) if isinstance(entry, ModelInfo) else Told(entry=entry))

        beside = Beside(
            orders.run,
            tell if orders.tells else None,
            status=status,
            floor=orders.floor,
            suffix=orders.suffix,
        )
        pool = WorkerPool(
            o,
            replace(settings_for(o, None), keys=keys),
            ports,
            {"threads": o.net.threads or threads_for_many(count)},
            beside,
        )
        self._pool = pool
        pool.run(stop)
