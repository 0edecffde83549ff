"""Several publishers behind one endpoint: everything arrives once, late joiners hear the newest, keys are asked for."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from feeding import status
from patience import PATIENCE_S, until

from streamcab.errors import FeedError
from streamcab.feed import Publisher, Subscriber
from streamcab.feed.curve import ClientKeys, ServerKeys, create
from streamcab.feed.proxy import Proxy
from streamcab.message import AnyMessage

ANYWHERE = "tcp://127.0.0.1:*"


class Shop:
    """Two publishers and their proxy, whose loops run whenever somebody listens."""

    def __init__(self, folder: Path, **options) -> None:
        self.places = [f"ipc://{folder}/{k}.ipc" for k in range(2)]
        self.publishers = [Publisher(place, "run") for place in self.places]
        self.proxy = Proxy(ANYWHERE, self.places, **options)

    def poll(self) -> None:
        for publisher in self.publishers:
            publisher.poll()
        self.proxy.poll()

    def hear(self, feed: Subscriber, count: int) -> list[AnyMessage]:
        heard: list[AnyMessage] = []

        def enough() -> bool:
            self.poll()
            message = feed.recv(0.01)
            heard.extend([message] if message else [])
            return len(heard) >= count

        until(enough)
        return heard


@contextmanager
def shop(folder: Path, **options) -> Iterator[Shop]:
    made = Shop(folder, **options)
    try:
        yield made
    finally:
        for publisher in made.publishers:
            publisher.close()
        made.proxy.close()


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Short: the name of a socket has at most 107 bytes.
    return tmp_path_factory.mktemp("p")


def streams(messages: Sequence[AnyMessage]) -> list[str]:
    return sorted(message.stream for message in messages)


def test_a_late_joiner_hears_the_newest_of_every_publisher_and_the_others_nothing_twice(folder: Path) -> None:
    with shop(folder) as s, Subscriber(s.proxy.endpoint) as first:
        for name, publisher in zip("ab", s.publishers, strict=True):
            publisher.publish(status(name))
            publisher.publish(status(name, detail="newest"))
        s.hear(first, 2)
        with Subscriber(s.proxy.endpoint) as late:
            heard = s.hear(late, 2)
            assert streams(heard) == ["a", "b"]
            assert {m.detail for m in heard} == {"newest"}
            s.publishers[0].publish(status("a", detail="over"))
            assert [m.detail for m in s.hear(late, 1)] == ["over"]
        assert [m.detail for m in s.hear(first, 1)] == ["over"]
        assert first.missed == late.missed == 0


def test_a_publisher_that_comes_back_is_heard_again_and_knows_who_listens(folder: Path) -> None:
    with shop(folder) as s, Subscriber(s.proxy.endpoint, ["b"]) as feed:
        s.publishers[1].publish(status("b"))
        s.hear(feed, 1)
        s.publishers[1].close()
        s.publishers[1] = Publisher(s.places[1], "run", floor=1 << 32)
        s.publishers[1].publish(
            status("b", detail="again")
        )  # nobody is there yet: repeated when the proxy is
        (heard,) = s.hear(feed, 1)
        assert heard.detail == "again"
        assert heard.seq == (1 << 32) + 1


def test_another_publisher_says_the_last_words_under_the_next_number(folder: Path) -> None:
    with shop(folder) as s, Subscriber(s.proxy.endpoint) as feed:
        for _ in range(3):
            last = s.publishers[1].publish(status("b"))
        s.hear(feed, 1)
        s.publishers[0].follow(last)
        s.publishers[0].publish(status("b", state="ended"))
        s.publishers[0].forget("b")
        assert s.hear(feed, 1)[-1].seq == last.seq + 1
        assert feed.missed == 0
        s.publishers[1].close()
        s.publishers[1] = Publisher(s.places[1], "run", floor=1 << 32)
        s.publishers[1].publish(status("b"))
        assert s.hear(feed, 1)[-1].seq == (1 << 32) + 1
        assert feed.missed == 0


def test_what_was_published_before_the_end_arrives(folder: Path) -> None:
    with shop(folder) as s, Subscriber(s.proxy.endpoint) as feed:
        s.publishers[0].publish(status("a"))
        s.hear(feed, 1)
        for k in range(500):
            for name, publisher in zip("ab", s.publishers, strict=True):
                publisher.publish(status(name, detail=f"{k}"))
        for publisher in s.publishers:
            publisher.close(linger_s=5.0)
        s.proxy.close(linger_s=5.0)
        for _ in range(1000):
            assert feed.recv(PATIENCE_S) is not None
        assert feed.recv(0.1) is None
        assert feed.missed == 0


def test_only_who_has_a_key_is_admitted(folder: Path) -> None:
    create(folder / "keys", "server")
    create(folder / "mine", "me")
    (folder / "keys" / "allow" / "me.key").write_text((folder / "mine" / "me.key").read_text())
    mine = ClientKeys.load(folder / "mine" / "me.key_secret", folder / "keys" / "server.key")
    with shop(folder, keys=ServerKeys(folder / "keys")) as s:
        s.publishers[0].publish(status("a"))
        with Subscriber(s.proxy.endpoint, keys=mine) as feed:
            assert streams(s.hear(feed, 1)) == ["a"]
        over, refused = threading.Event(), []

        def try_without() -> None:
            with Subscriber(s.proxy.endpoint) as feed:
                while not over.is_set():
                    with suppress(FeedError):
                        assert feed.recv(0.05) is None
                        continue
                    refused.append(True)
                    return

        thread = threading.Thread(target=try_without)
        thread.start()
        until(lambda: (s.poll(), s.proxy.refused)[1] > 0)
        over.set()
        thread.join()


def test_an_endpoint_that_is_taken_is_an_error(folder: Path) -> None:
    with shop(folder) as s, pytest.raises(FeedError, match="is taken"):
        Proxy(s.proxy.endpoint, s.places)
