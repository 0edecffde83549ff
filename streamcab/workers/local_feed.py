"""The feed of a worker: published on this machine only, for the proxy, with a copy of the newest messages.

The status of the daemon is not published: the pool merges those of all workers. Knows nothing of the proxy.
"""

from contextlib import suppress
from typing import TypeVar

from streamcab.feed.publisher import Channel, Publisher
from streamcab.message import AnyMessage, DaemonStatus, encode
from streamcab.workers.last_words import LastWords

_M = TypeVar("_M", bound=AnyMessage)


class LocalFeed(Publisher):
    """Publishes at `endpoint`, and leaves the newest message of each topic in `words`."""

    def __init__(self, endpoint: str, run: str, words: LastWords, floor: int) -> None:
        super().__init__(endpoint, run, floor=floor)
        self._words = words

    def publish(self, message: _M) -> _M:
        """See Publisher."""
        if isinstance(message, DaemonStatus):
            self._words.say(encode(message))
            return message
        return super().publish(message)

    def forget(self, stream: str) -> None:
        """See Publisher."""
        super().forget(stream)
        self._words.forget(stream)

    def _wanted(self, channel: Channel) -> bool:
        # Kept before it is sent, so that the number after the last one kept was never used; kept though nobody listens,
        # since the store is told what was said last.
        if not channel.body and channel.message is not None:
            with suppress(UnicodeEncodeError):
                channel.body = encode(channel.message)
                self._words.put(channel.topic, channel.body)
        return super()._wanted(channel)
