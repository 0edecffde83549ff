"""The feed of a worker: published on this machine only, for the proxy, with a copy of the newest messages.

The status of the daemon is not published: the pool merges those of all workers. Knows nothing of the proxy.
"""

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

    def _send(self, channel: Channel) -> None:
        # Before it is sent, so that the number after the last one kept was never used.
        self._words.put(channel.topic, channel.body)
        super()._send(channel)
