"""The metrics over HTTP: the feed read on this thread, scrapes answered on others.

Owns the listening socket of the exporter. Knows nothing of the counters.
"""

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from streamcab import __version__
from streamcab.errors import StreamcabError
from streamcab.extras import missing
from streamcab.feed import Subscriber
from streamcab.health.metrics import Ledger

if TYPE_CHECKING:
    from prometheus_client.core import Metric

TURN_S = 0.5


class _Collector:
    """The metrics that prometheus-client asks for at each scrape."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def collect(self) -> "Iterator[Metric]":
        yield from self._ledger.families(time.monotonic())


def export(feed: Subscriber, host: str, port: int, stop: threading.Event, say: Callable[[str], None]) -> None:
    """Serve http://HOST:PORT/metrics until `stop`; ConfigError without prometheus-client."""
    try:
        from prometheus_client import CollectorRegistry, start_http_server
    except ImportError:
        raise missing("prometheus_client", "streamcab metrics") from None

    ledger = Ledger(__version__)
    # A registry of its own: the process metrics of the default one would be taken for the daemon's.
    registry = CollectorRegistry()
    registry.register(_Collector(ledger))
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise StreamcabError(
            f"metrics cannot be served on {host}:{port}: {error.strerror or error}; choose another --listen"
        ) from None
    try:
        shown = f"[{host}]" if ":" in host else host
        say(f"metrics of {feed.endpoint} on http://{shown}:{server.server_port}/metrics")
        while not stop.is_set():
            first = feed.recv(TURN_S)
            ledger.losses.missed, ledger.losses.malformed = feed.missed, feed.malformed
            ledger.losses.restarts = feed.restarts
            if first is not None:
                ledger.take((first, *feed.drain()), time.monotonic())
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
