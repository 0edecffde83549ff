"""One shard as the pool sees it: questions that are answered later, or never. Knows nothing of Ray."""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from streamcab.workers.process import Told


class Orders(msgspec.Struct, frozen=True):
    """The orders that a shard gets when it starts to serve.

    Attributes:
        index, run, floor, suffix, settings: As for a worker; see workers/process.py.
        pair: Public and secret key of its feed.
        client: Public key of the only subscriber.
    """

    index: int
    run: str
    floor: int
    suffix: str
    pair: tuple[str, str]
    client: str
    tells: bool
    settings: dict[str, Any]


class Report(msgspec.Struct, frozen=True):
    """A shard's report, on request.

    Attributes:
        life: Random id of its process.
        state: `idle`, `loading`, `serving` or `failed`.
        serves: Floor of the orders that it follows; -1 before the first.
        rtp: Its addresses.
        endpoint: Address of its feed.
        status: DaemonStatus as JSON, or empty.
        told: Events of calls since the last report.
    """

    life: str
    state: str
    serves: int = -1
    rtp: list[str] = []
    endpoint: str = ""
    status: str = ""
    told: list[Told] = []
    error: str = ""
    code: int = 1


# msgspec prepares a type when it is first used: two threads that did so at once would end the process.
orders_of = msgspec.json.Decoder(Orders).decode
report_of = msgspec.json.Decoder(Report).decode


class Answer(Protocol):
    """An answer that may come."""

    def done(self) -> bool:
        """Return whether it has come, or never will."""

    def result(self) -> Any:
        """Return it. Raises ShardLost if it never will."""


class ShardLost(Exception):
    """The process of a shard has died."""


class Remote(Protocol):
    """A shard, wherever it is, and whichever process it is now."""

    def ask(self, method: str, *args: Any) -> Answer:
        """Call a method of `cli.shard.Shard`: `report`, `begin`, `retune` or `end`."""

    def kill(self) -> None:
        """End its process, for another to take its place."""


class Cluster(Protocol):
    """The machines that shards run on."""

    def shards(self) -> Sequence[Remote]:
        """Return all of them, whether they have a machine yet or not."""

    def close(self) -> None:
        """Release everything."""
