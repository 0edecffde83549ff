"""The last messages of the calls of a process that died, made of the newest ones that it had sent."""

from collections.abc import Iterable

from msgspec.structs import replace

from streamcab.feed import Publisher
from streamcab.message import AnyMessage, ModelInfo, Prediction, Status, decode


def farewells(bodies: Iterable[bytes], why: str, time: float) -> list[AnyMessage]:
    """Return the messages that end these calls: of each its model as it was, then its answer and its status, ended.

    Args:
        bodies: The newest message of each topic, as it was sent.
        why: The reason, for the statuses.
        time: Unix time in s.
    """
    messages = sorted(map(decode, bodies), key=lambda m: (m.stream, _ORDER.index(type(m))))
    return [_ended(message, why, time) for message in messages]


def publish_farewells(feed: Publisher, messages: Iterable[AnyMessage]) -> int:
    """Publish such messages under the numbers that follow; return the number of streams that have ended."""
    streams = set()
    for message in messages:
        if isinstance(message, Prediction | Status):
            feed.follow(message)
            feed.publish(message)
            streams.add(message.stream)
    for stream in streams:
        feed.forget(stream)
    return len(streams)


_ORDER: list[type[AnyMessage]] = [ModelInfo, Prediction, Status]


def _ended(message: AnyMessage, why: str, time: float) -> AnyMessage:
    if isinstance(message, Prediction):
        return replace(message, state="ended")
    if isinstance(message, Status):
        return replace(message, state="ended", source_state="ended", detail=why, time=time)
    return message
