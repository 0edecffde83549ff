"""`listen --media --workers`: calls over WebSocket come to one address, and several processes serve them."""

import os
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from media_messages import twilio_media, twilio_start, twilio_stop
from patience import PATIENCE_S
from patience import until as until_true
from ports import free_port
from serving import here
from speech import talk
from test_workers import PACKET, SSRCS, Calling, hear, names, pooled, speech
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from streamcab.bench.speech import encode
from streamcab.config.address import HostPort
from streamcab.feed import Subscriber
from streamcab.media.addresses import Reserved
from streamcab.message import AnyMessage, DaemonStatus, Prediction, Status
from streamcab.workers.room import Room, reserve

CALLS = 16
"""That all of them come to one of two workers happens once in 2^15 times."""


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Short: the name of a socket has at most 107 bytes.
    return tmp_path_factory.mktemp("w")


@pytest.fixture
def port() -> int:
    return free_port()


@contextmanager
def dial(port: int, call: str) -> Iterator[ClientConnection]:
    """A call, of two seconds so far, as soon as a worker has room for it."""
    found: list[ClientConnection] = []
    with ExitStack() as kept:

        def connected() -> bool:
            try:
                found.append(kept.enter_context(connect(f"ws://127.0.0.1:{port}/twilio", compression=None)))
            except InvalidStatus as refused:
                if refused.response.status_code != 503:
                    raise
            return bool(found)

        until_true(connected, "a connection")
        found[0].send(twilio_start(call, call))
        said = encode("pcmu", talk(2.0, 8000, 7))
        for k in range(len(said) // PACKET):
            found[0].send(twilio_media(said[k * PACKET : (k + 1) * PACKET].tobytes(), 20 * k, stream=call))
        yield found[0]


def get(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_one_address_serves_all_calls_and_goes_on_while_a_worker_is_dead(folder: Path, port: int) -> None:
    with (
        pooled(folder, "--media", f"127.0.0.1:{port}", rtp=False) as pool,
        Subscriber(pool.endpoint) as feed,
        ExitStack() as dialled,
    ):
        heard: list[AnyMessage] = []
        assert get(port, "/health") == get(port, "/ready") == 200
        for k in range(CALLS):
            dialled.enter_context(dial(port, f"CA{k:02}"))

        def answered(since: int = 0) -> set[str]:
            return {m.stream for m in heard[since:] if isinstance(m, Prediction) and m.state != "ended"}

        hear(feed, heard, lambda: len(answered()) == CALLS)
        before, (first, second) = len(heard), pool.workers
        os.kill(first, signal.SIGKILL)
        until_true(lambda: not Path(f"/proc/{first}").exists(), "the end of a worker and its sockets")
        # The kernel gives all that comes now to the worker that lives, until another one listens.
        assert get(port, "/health") == get(port, "/ready") == 200
        again = dialled.enter_context(dial(port, "CA99"))
        hear(feed, heard, lambda: "CA99" in answered())
        hear(feed, heard, lambda: any(isinstance(m, DaemonStatus) and m.detail for m in heard[before:]))
        lost = {m.stream for m in heard if isinstance(m, Status) and m.state == "ended"}
        assert 0 < len(lost) < CALLS
        assert second in pool.workers
        again.send(twilio_stop("CA99", "CA99"))
        hear(feed, heard, lambda: any(m.stream == "CA99" and m.state == "ended" for m in ended(heard)))
        assert len({m.run for m in heard}) == 1
        assert names(heard) == {f"CA{k:02}" for k in range(CALLS)} | {"CA99"}


def ended(messages: list[AnyMessage]) -> Iterator[Status]:
    return (m for m in messages if isinstance(m, Status) and m.state == "ended")


def test_it_is_ready_while_any_worker_has_room(folder: Path, port: int) -> None:
    with pooled(folder, "--media", f"127.0.0.1:{port}", "--max-streams", "2", rtp=False) as pool:
        with dial(port, "CA01"), Subscriber(pool.endpoint) as feed:
            heard: list[AnyMessage] = []
            hear(feed, heard, lambda: "CA01" in names(heard))
            assert get(port, "/ready") == 200
            with dial(port, "CA02"):
                hear(feed, heard, lambda: "CA02" in names(heard))
                until_true(lambda: get(port, "/ready") == 503, "that it is full")
                assert get(port, "/health") == 200
        until_true(lambda: get(port, "/ready") == 200, "that it has room")


def test_calls_by_rtp_and_over_websocket_share_the_workers(folder: Path, port: int) -> None:
    with (
        pooled(folder, "--media", f"127.0.0.1:{port}") as pool,
        Subscriber(pool.endpoint) as feed,
        dial(port, "CA01"),
        Calling(pool.port, speech(5.0)),
    ):
        heard: list[AnyMessage] = []
        hear(feed, heard, lambda: len(names(heard)) == 1 + len(SSRCS))
        assert "CA01" in names(heard)


def test_an_address_is_kept_while_nobody_listens_at_it() -> None:
    with closing(Reserved([HostPort("127.0.0.1:0"), HostPort("[::1]:0")])) as kept:
        host, _, port = kept.addresses[0].rpartition(":")
        assert kept.addresses[1].startswith("[::1]:")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)))
        with pytest.raises(OSError, match="in use"), socket.socket() as other:
            other.bind((host, int(port)))
        with socket.create_server((host, int(port)), reuse_port=True):
            socket.create_connection((host, int(port))).close()
            # Another daemon does not slip in beside the one that serves.
            with pytest.raises(OSError, match="in use"):
                Reserved([HostPort(kept.addresses[0])])


def test_room_is_that_of_all_workers() -> None:
    fd = reserve(3)
    with closing(Room(fd)) as first, closing(Room(fd)) as second:
        os.close(fd)
        assert not first.any()
        second.say(3, 1000)
        first.say(1, 0)
        assert first.any()
        second.say(3, -1)
        assert not first.any()


def test_an_address_that_is_taken_is_said_in_a_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = here(
            "listen", "--quiet", "--endpoint", "tcp://127.0.0.1:*", "--workers", "2", "--media", address
        )
    assert done.returncode == 1
    assert "cannot serve calls" in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
