"""The feed: `Publisher` for the daemon, `Subscriber` for clients. See docs/reference/feed.md."""

from streamcab.config.tree import ENDPOINT
from streamcab.feed.publisher import REPEATS, SUBSCRIPTIONS, Publisher
from streamcab.feed.subscriber import DEAD_S, Subscriber
from streamcab.message import Prediction

__all__ = ["DEAD_S", "ENDPOINT", "REPEATS", "SUBSCRIPTIONS", "Prediction", "Publisher", "Subscriber"]
