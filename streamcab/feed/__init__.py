"""The feed: `Publisher` in the daemon, `Subscriber` in whoever listens. See docs/feed.md."""

from streamcab.config.tree import ENDPOINT
from streamcab.feed.publisher import REPEATS, SUBSCRIPTIONS, Publisher
from streamcab.feed.subscriber import DEAD_S, Subscriber

__all__ = ["DEAD_S", "ENDPOINT", "REPEATS", "SUBSCRIPTIONS", "Publisher", "Subscriber"]
