"""One shard as the pool sees it: questions that are answered later, or never. Knows nothing of Ray."""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from streamcab.workers.process import Told


class Orders(msgspec.Struct, frozen=True):
    """What a shard is told when it shall serve.

    index, run, floor, suffix, settings  as for a worker; see workers/process.py
    pair    public and secret key of its feed        client   public key of the only subscriber
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
    """What a shard says when asked.

    life      a random id of its process         state   `idle`, `loading`, `serving` or `failed`
    serves    which orders it follows: their floor, -1 before the first
    rtp       its addresses                       endpoint  of its feed
    status    DaemonStatus as JSON, or empty      told    what became of calls since the last report
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
    """Where shards run."""

    def shards(self) -> Sequence[Remote]:
        """Return all of them, whether they have a machine yet or not."""

    def close(self) -> None:
        """Release everything."""
