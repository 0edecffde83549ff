"""What a process has said last is there when it is not."""

import os
import signal
import subprocess
import sys

import pytest
from feeding import status
from health_feed import daemon, model, prediction
from patience import until

from streamcab.feed import Subscriber
from streamcab.message import Prediction, Status, decode, encode
from streamcab.workers.farewell import farewells
from streamcab.workers.last_words import CELL, LastWords, reserve
from streamcab.workers.local_feed import LocalFeed

WRITER = """
import sys
from streamcab.workers.last_words import LastWords
words = LastWords(int(sys.argv[1]))
words.put(b"v1/a/status", b"old")
words.put(b"v1/a/status", b"new")
words.put(b"v1/b/status", b"other")
words.say(b"myself")
print("written", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def words():
    fd = reserve(2)
    made = LastWords(fd)
    os.close(fd)
    yield made
    made.close()


def test_the_newest_messages_survive_a_kill():
    fd = reserve(2)
    here = LastWords(fd)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(fd)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[fd]
    )
    os.close(fd)
    with writer:
        assert writer.stdout.readline() == b"written\n"
        assert here.said() == b"myself"
        writer.send_signal(signal.SIGKILL)
    assert sorted(here.all()) == [b"new", b"other"]
    here.close()


def test_streams_that_ended_leave_room_for_others(words):
    for k in range(10):
        for kind in ("model", "status", "prediction"):
            words.put(f"v1/s{k}/{kind}".encode(), f"{k}{kind}".encode())
        words.forget(f"s{k - 1}")
    assert sorted(words.all()) == [b"9model", b"9prediction", b"9status"]


def test_what_has_no_room_is_not_kept(words):
    words.put(b"v1/a/status", b"small")
    words.put(b"v1/a/status", bytes(CELL))
    assert words.all() == []
    for k in range(7):
        words.put(f"v1/{k}/status".encode(), b"x")
    assert len(words.all()) == 5


def test_what_is_being_written_is_not_read(words):
    words.say(b"whole")
    words._map[0] = 1
    assert words.said() == b""


def test_farewells_end_every_call_in_order():
    bodies = [encode(m) for m in (status("b"), prediction("a", seq=7), status("a", seq=3), model("a"))]
    told = farewells(bodies, "its worker ended", 5.0)
    assert [(m.stream, type(m).__name__) for m in told] == [
        ("a", "ModelInfo"),
        ("a", "Prediction"),
        ("a", "Status"),
        ("b", "Status"),
    ]
    assert {m.state for m in told[1:]} == {"ended"}
    assert [m.seq for m in told[1:3]] == [7, 3]
    for one in told:
        if isinstance(one, Status):
            assert (one.detail, one.source_state, one.time) == ("its worker ended", "ended", 5.0)
        if isinstance(one, Prediction):
            assert one.time == 1.0  # when its last sample was captured


def test_a_feed_leaves_its_newest_messages_though_nobody_listens(words, tmp_path_factory):
    folder = tmp_path_factory.mktemp("f")
    with LocalFeed(f"ipc://{folder}/feed.ipc", "run", words, floor=1 << 32) as feed:
        feed.publish(status("a", detail="old"))
        feed.publish(status("a", detail="new"))
        feed.publish(prediction("a"))
        feed.publish(status("b"))
        feed.publish(daemon(streams=2))
        feed.forget("b")
        kept = sorted(map(decode, words.all()), key=lambda m: type(m).__name__)
        assert [(m.stream, m.run, m.seq) for m in kept] == [
            ("a", "run", (1 << 32) + 1),
            ("a", "run", (1 << 32) + 2),
        ]
        assert kept[1].detail == "new"
        assert decode(words.said()).streams == 2
        with Subscriber(feed.endpoint) as late:
            heard = []
            until(lambda: (feed.poll(), heard.extend(filter(None, [late.recv(0.01)])), len(heard) >= 2)[-1])
            assert {m.stream for m in heard} == {"a"}
