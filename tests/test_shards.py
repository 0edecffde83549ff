"""Shards as one daemon: who gets the next call, over HTTP too, and what becomes of calls whose shard is lost.

The shards are real, in threads of this process instead of actors of Ray: tests/test_shards_ray.py has those.
"""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
from feeding import status
from health_feed import model, prediction
from patience import until as until_true
from serving import run, save_model
from speech import SMALL_STAGES, tiny_model
from test_workers import Calling, hear, names, speech

from streamcab.calls import Entry
from streamcab.cli.shard import Shard
from streamcab.config.address import HostPort
from streamcab.config.setting import build
from streamcab.config.tree import Listen
from streamcab.daemon.settings import Settings
from streamcab.errors import ConfigError, StreamcabError
from streamcab.feed import Publisher, Subscriber
from streamcab.feed.curve import ClientKeys, OneClient, Pair
from streamcab.feed.relay import Relay
from streamcab.message import AnyMessage, DaemonStatus, Status
from streamcab.nn.checkpoint import Checkpoint
from streamcab.shards.allocator import LEASE_S, Allocator
from streamcab.shards.api import Api
from streamcab.shards.pool import EPOCH, ShardPool
from streamcab.shards.remote import ShardLost
from streamcab.workers.base import Beside


def serving(count: int = 2, most: int = 2) -> Allocator:
    allocator = Allocator(count)
    for place in allocator.places:
        place.state, place.rtp, place.most = "serving", [f"10.0.0.{place.index}:5004"], most
    return allocator


def test_the_least_loaded_shard_gets_the_call_and_promises_count_for_a_while():
    allocator = serving()
    allocator.places[0].streams = 1
    first, second, third = (allocator.allocate(0.0) for _ in range(3))
    assert (first.address, first.port, first.shard) == ("10.0.0.2", 5004, 2)
    assert [first.shard, second.shard, third.shard] == [2, 1, 2]
    assert len({first.token, second.token, third.token}) == 3
    assert allocator.allocate(LEASE_S - 0.1) is None
    assert allocator.allocate(LEASE_S + 0.1) is not None


def test_a_promise_can_be_taken_back_once():
    allocator = serving(1, 1)
    given = allocator.allocate(0.0)
    assert allocator.allocate(0.0) is None
    assert allocator.release(given.token)
    assert not allocator.release(given.token)
    assert allocator.allocate(0.0) is not None


@pytest.mark.parametrize("state", ["loading", "mute", "lost"])
def test_only_shards_that_serve_get_calls(state):
    allocator = serving()
    allocator.places[0].state = state
    assert {allocator.allocate(0.0).shard for _ in range(2)} == {2}


def test_a_shard_that_is_drained_gets_no_calls_until_it_is_resumed():
    allocator = serving()
    assert allocator.drain(1, True)
    assert not allocator.drain(3, True)
    assert allocator.places[0].said == "draining"
    assert {allocator.allocate(0.0).shard for _ in range(2)} == {2}
    assert allocator.drain(1, False)
    assert allocator.allocate(0.0).shard == 1


def test_addresses_of_ipv6_have_no_brackets():
    allocator = serving(1)
    allocator.places[0].rtp = ["[fd00::1]:5004"]
    assert allocator.allocate(0.0).address == "fd00::1"


@contextmanager
def api(allocator: Allocator, token: Path | None = None) -> Iterator[str]:
    with closing(Api(HostPort("127.0.0.1:0"), token)) as made, made.beside(allocator):
        yield f"http://127.0.0.1:{made.port}"


def ask(method: str, url: str, token: str = "") -> tuple[int, object]:
    request = urllib.request.Request(url, method=method, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            body = answer.read()
            return answer.status, json.loads(body) if body else None
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_media_servers_are_told_over_http():
    with api(serving(2, 1)) as url:
        code, given = ask("POST", f"{url}/calls")
        assert code == 201
        assert given == {"address": "10.0.0.1", "port": 5004, "shard": 1, "token": given["token"]}
        assert ask("POST", f"{url}/calls")[0] == 201
        assert ask("POST", f"{url}/calls")[0] == 503
        assert ask("DELETE", f"{url}/calls/{given['token']}")[0] == 204
        assert ask("DELETE", f"{url}/calls/{given['token']}")[0] == 404
        assert ask("POST", f"{url}/shards/2/drain")[0] == 204
        code, shards = ask("GET", f"{url}/shards")
        assert [row["state"] for row in shards] == ["serving", "draining"]
        assert ask("POST", f"{url}/shards/2/resume")[0] == 204
        assert ask("POST", f"{url}/shards/9/drain")[0] == 404
        assert ask("GET", f"{url}/calls")[0] == 405


def test_who_has_a_token_is_heard(tmp_path):
    (tmp_path / "token").write_text("0123456789abcdef\n")
    (tmp_path / "token").chmod(0o600)
    with api(serving(), tmp_path / "token") as url:
        assert ask("POST", f"{url}/calls")[0] == 401
        assert ask("POST", f"{url}/calls", "0123456789abcdeF")[0] == 401
        assert ask("POST", f"{url}/calls", "0123456789abcdef")[0] == 201


def test_addresses_that_others_reach_want_a_token(tmp_path):
    with pytest.raises(ConfigError, match="--allocate-token"):
        Api(HostPort("0.0.0.0:0"), None)
    (tmp_path / "short").write_text("secret")
    (tmp_path / "short").chmod(0o600)
    with pytest.raises(ConfigError, match="must be 16 or more ASCII characters"):
        Api(HostPort("127.0.0.1:0"), tmp_path / "short")
    with (
        closing(Api(HostPort("127.0.0.1:0"), None)) as made,
        pytest.raises(StreamcabError, match="choose another address"),
    ):
        Api(HostPort(f"127.0.0.1:{made.port}"), None)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Short: the name of a socket has at most 107 bytes.
    return tmp_path_factory.mktemp("s")


def test_a_relay_knows_the_newest_of_what_goes_on_and_serves_late_joiners(folder):
    pair, client = Pair.random(), Pair.random()
    far = Publisher("tcp://127.0.0.1:*", "run", keys=OneClient(pair, client.public))
    relay = Relay(far.endpoint, ClientKeys(client, pair.public), f"ipc://{folder}/near")
    try:
        with Subscriber(f"ipc://{folder}/near") as feed:
            heard: list[AnyMessage] = []

            def enough(count: int) -> bool:
                far.poll()
                message = feed.recv(0.01)
                heard.extend([message] if message else [])
                return len(heard) >= count

            for message in (model("a"), prediction("a"), status("a"), status("b", detail="old")):
                far.publish(message)
            until_true(lambda: enough(4))
            far.publish(status("b", detail="new"))
            far.publish(status("a", state="ended"))
            until_true(lambda: enough(6))
            assert set(relay.words) == {b"v1/b/status"}
            assert b'"new"' in relay.words[b"v1/b/status"]
            with Subscriber(f"ipc://{folder}/near", ["b"]) as late:
                until_true(lambda: (far.poll(), late.recv(0.01))[1] is not None)
            assert feed.missed == 0
    finally:
        relay.close()
        far.close()


class Here:
    """A shard in this process, which can die and be replaced."""

    def __init__(self) -> None:
        self.shard = Shard("127.0.0.1")
        self.dead = False
        self.killed = 0
        self._threads = ThreadPoolExecutor(4)

    def ask(self, method: str, *args: object) -> Future:
        def answer() -> object:
            if self.dead:
                raise ShardLost("it died")
            return getattr(self.shard, method)(*args)

        return self._threads.submit(answer)

    def kill(self) -> None:
        self.killed += 1

    def die(self) -> None:
        """Answer no more, as a process that was killed; its workers end as if it had been."""
        self.dead = True
        self.shard.end()

    def come_back(self) -> None:
        self.shard, self.dead = Shard("127.0.0.1"), False


def test_shards_are_one_daemon_and_calls_of_a_lost_one_are_said_to_end(folder):
    checkpoint = save_model(Checkpoint(tiny_model(3, stages=SMALL_STAGES), {"name": "tiny"}), folder)
    given = {"rtp": ("0.0.0.0:0",), "model": checkpoint, "max_streams": 16, "shards": 2}
    told: list[object] = []
    shards, allocator = [Here(), Here()], Allocator(2)
    settings = Settings(f"ipc://{folder}/feed.ipc", max_streams=16)
    pool = ShardPool(build(Listen, given), settings, shards, allocator, Beside("run", told.append))
    stop = threading.Event()
    thread = threading.Thread(target=pool.run, args=(stop,))
    thread.start()
    try:
        with Subscriber(pool.endpoint) as feed:
            heard: list[AnyMessage] = []
            hear(feed, heard, lambda: all(place.state == "serving" for place in allocator.places))
            first, second = (allocator.allocate(0.0) for _ in range(2))
            assert {first.shard, second.shard} == {1, 2}
            with Calling(first.port, speech(5.0, [0x10, 0x11])), Calling(second.port, speech(5.0, [0x12])):
                hear(feed, heard, lambda: len(names(heard)) == 3)
                on_first = {name for name in names(heard) if name.endswith(f".s{first.shard}")}
                assert {name.rpartition(".")[2] for name in names(heard)} == {"s1", "s2"}
                lost = shards[first.shard - 1]
                before = len(heard)
                lost.die()
                hear(
                    feed,
                    heard,
                    lambda: any(
                        isinstance(m, DaemonStatus) and "was lost" in m.detail for m in heard[before:]
                    ),
                )
                ended = [m for m in heard if isinstance(m, Status) and m.state == "ended"]
                assert {m.stream for m in ended} == on_first
                news = next(m for m in heard if isinstance(m, DaemonStatus) and "was lost" in m.detail)
                assert news.counters["shards-lost"] == 1
                assert allocator.allocate(0.0).shard == second.shard
                lost.come_back()
                hear(feed, heard, lambda: all(place.state == "serving" for place in allocator.places))
                again = next(p for p in allocator.places if p.index == first.shard)
                with Calling(int(again.rtp[0].rpartition(":")[2]), speech(5.0, [0x10])):
                    since = len(heard)
                    hear(feed, heard, lambda: any(m.seq > EPOCH for m in heard[since:]))
            assert {m.run for m in heard} == {"run"}
    finally:
        stop.set()
        thread.join()
    states = {one.call.number: one.call.state for one in told if isinstance(one, Entry)}
    assert set(states.values()) == {"ended"}


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_it_says_what_to_install():
    done = run("listen", "--ray", "local", "--rtp", "127.0.0.1:0", "--allocate", "127.0.0.1:0", "--quiet")
    assert done.returncode == 1
    assert b"pip install 'streamcab[ray]'" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--ray", "local", "--file", "x.wav"), b"--ray shares out calls by RTP: give --rtp."),
        (("--ray", "local", "--rtp", "127.0.0.1:0", "--stdin", "wav"), b"--ray serves calls by RTP only"),
        (("--ray", "local", "--rtp", "127.0.0.1:0", "--allocate", "0.0.0.0:0"), b"add --allocate-token FILE"),
        (("--ray", "head", "--rtp", "127.0.0.1:0", "--allocate", "127.0.0.1:0"), b"HOST:PORT"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(words, said):
    done = run("listen", "--quiet", "--endpoint", "tcp://127.0.0.1:*", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert b"Traceback" not in done.stderr
