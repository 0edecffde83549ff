"""Sinks: events reach a webhook, a real Redis and a real NATS, once each, whatever happens on the way."""

import base64
import hmac
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest
from called import NOON, Line, one_call
from patience import until
from ports import free_port
from receiver import Receiver
from serving import here

from streamcab.calls import Tally
from streamcab.errors import ConfigError, StoreError
from streamcab.sinks import post
from streamcab.sinks.parcel import Delivered, Later, Outcome, Parcel, Refused, Sink
from streamcab.sinks.post import Post
from streamcab.sinks.spool import Spool
from streamcab.sinks.webhook import Webhook, secrets_in, signature

SECRET = b"a secret of at least 24 bytes"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("TURN_S", 0.02), ("FIRST_S", 0.02), ("LONGEST_S", 0.1), ("REST_S", 0.1)):
        monkeypatch.setattr(post, name, seconds)


class Box:
    """A sink in this process: answers what `says` returns, and keeps what was delivered."""

    def __init__(self, says: Callable[[Parcel], Outcome] = lambda _: Delivered(), name: str = "box") -> None:
        self.name, self.says = name, says
        self.tried: list[str] = []
        self.events: list[dict[str, object]] = []

    def deliver(self, parcel: Parcel) -> Outcome:
        self.tried.append(parcel.uid)
        outcome = self.says(parcel)
        if isinstance(outcome, Delivered):
            self.events.append(json.loads(parcel.body))
        return outcome

    def close(self) -> None:
        pass


def names(events: Sequence[dict[str, object]]) -> list[object]:
    return [event["call"]["name"] for event in events]  # type: ignore[index]


def test_an_event_is_sent_when_a_call_ends(tmp_path: Path) -> None:
    box = Box()
    with Post([box], tmp_path / "q.db", "r1") as sent:
        one_call(Tally(sent), "alice", seconds=25)
        until(lambda: box.events)
    (event,) = box.events
    assert (event["type"], event["run"], event["id"]) == ("call.ended", "r1", "r1-1-1")
    assert event["call"]["speech_s"] == 12.5  # type: ignore[index]


def test_with_every_a_call_is_sent_while_it_goes_on(tmp_path: Path) -> None:
    box = Box()
    with Post([box], tmp_path / "q.db", "r1", every_s=20) as sent:
        line = Line(Tally(sent), "alice")
        line.talk(70)
        line.hang_up()
        until(lambda: box.events and box.events[-1]["type"] == "call.ended")
    assert [event["type"] for event in box.events] == ["call.update"] * 3 + ["call.ended"]
    seen = [event["call"]["seen"] for event in box.events]  # type: ignore[index]
    assert all(b - a >= 20 for a, b in zip([NOON, *seen], seen[:-1], strict=False))
    assert len({event["id"] for event in box.events}) == 4


def test_what_fails_is_tried_again_under_the_same_id(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    box = Box(lambda parcel: Later("away") if parcel.tries < 3 else Delivered())
    with Post([box], tmp_path / "q.db", "r1") as sent:
        one_call(Tally(sent), "alice")
        until(lambda: box.events)
    assert box.tried == ["r1-1-1"] * 4
    assert caplog.text.count("box: away") == 1
    assert caplog.text.count("box works again") == 1


def test_one_poisonous_event_does_not_hold_the_others(tmp_path: Path) -> None:
    def says(parcel: Parcel) -> Outcome:
        return Later("chokes") if b"poison" in parcel.body else Delivered()

    box = Box(says)
    with Post([box], tmp_path / "q.db", "r1") as sent:
        tally = Tally(sent)
        for name in ("poison", "alice", "bob"):
            one_call(tally, name)
        until(lambda: len(box.events) == 2)
        until(lambda: sent.counters().get("sink-waiting") == 1)


def test_what_is_refused_is_a_dead_letter(tmp_path: Path) -> None:
    box = Box(lambda _: Refused("no"))
    with Post([box], tmp_path / "q.db", "r1") as sent:
        one_call(Tally(sent), "alice")
        until(lambda: sent.counters().get("sink-dead") == 1)
        assert "sink-waiting" not in sent.counters()
    assert box.tried == ["r1-1-1"]


def test_dead_letters_are_listed_and_sent_again_while_the_daemon_runs(tmp_path: Path) -> None:
    queue, answers = tmp_path / "q.db", {"says": Refused("410 Gone")}
    box = Box(lambda _: answers["says"])
    with Post([box], queue, "r1") as sent:
        tally = Tally(sent)
        one_call(tally, "alice")
        one_call(tally, "bob")
        until(lambda: sent.counters().get("sink-dead") == 2)
        listed = here("sinks", "dead", "--sink-queue", queue).stdout.decode().splitlines()
        assert [line.split()[0] for line in listed] == ["r1-1-1", "r1-2-1"]
        assert all("410 Gone" in line for line in listed)
        assert "alice" in listed[0]
        assert here("sinks", "resend", "r9-9-9", "--sink-queue", queue).returncode == 1
        answers["says"] = Delivered()
        assert here("sinks", "resend", "r1-2-1", "--sink-queue", queue).returncode == 0
        until(lambda: box.events)
        (left,) = here("sinks", "dead", "--json", "--sink-queue", queue).stdout.splitlines()
        assert json.loads(left)["event"]["call"]["name"] == "alice"
        here("sinks", "resend", "--sink-queue", queue)
        until(lambda: len(box.events) == 2 and "sink-dead" not in sent.counters())
    assert names(box.events) == ["bob", "alice"]
    assert b"no dead letters" in here("sinks", "dead", "--sink-queue", queue).stderr


def test_a_queue_that_is_not_there_is_said_and_not_made(tmp_path: Path) -> None:
    done = here("sinks", "resend", "--sink-queue", tmp_path / "none.db")
    assert (done.returncode, b"there is no queue" in done.stderr) == (1, True)
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "other.db").write_bytes(b"no database at all" * 100)
    done = here("sinks", "dead", "--sink-queue", tmp_path / "other.db")
    assert (done.returncode, b"cannot use the queue" in done.stderr) == (1, True)


def test_a_receiver_that_is_away_for_a_day_gets_dead_letters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(post, "DEAD_S", 0.0)
    with Post([Box(lambda _: Later("away"))], tmp_path / "q.db", "r1") as sent:
        one_call(Tally(sent), "alice")
        until(lambda: sent.counters().get("sink-dead") == 1)


def test_what_waits_survives_the_daemon(tmp_path: Path) -> None:
    with Post([Box(lambda _: Later("away"))], tmp_path / "q.db", "r1") as sent:
        one_call(Tally(sent), "alice")
        until(lambda: sent.counters().get("sink-waiting"))
    box = Box()
    with Post([box], tmp_path / "q.db", "r2"):
        until(lambda: box.events)
    assert names(box.events) == ["alice"]
    assert box.events[0]["run"] == "r1"


def test_two_sinks_each_get_everything(tmp_path: Path) -> None:
    one, two = Box(), Box(name="other")
    with Post([one, two], tmp_path / "q.db", "r1") as sent:
        tally = Tally(sent)
        for n in range(20):
            one_call(tally, f"call-{n}", seconds=5)
        until(lambda: len(one.events) == len(two.events) == 20)
    assert names(one.events) == names(two.events) == [f"call-{n}" for n in range(20)]


def test_a_queue_is_one_daemons(tmp_path: Path) -> None:
    with Post([Box()], tmp_path / "q.db", "r1"), pytest.raises(StoreError, match="another streamcab"):
        Post([Box()], tmp_path / "q.db", "r2")
    with pytest.raises(StoreError, match="cannot use the queue"):
        Post([Box()], tmp_path, "r1")


def test_a_queue_that_is_full_drops_the_oldest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamcab.sinks.spool.MOST", 3)
    spool = Spool(tmp_path / "q.db", alone=True)
    dropped = [spool.put(["a"], f"id-{n}", "t", b"{}", float(n)) for n in range(5)]
    assert dropped == [0, 0, 0, 1, 1]
    first = spool.next("a", 99.0)
    assert first is not None
    assert first.uid == "id-2"
    assert spool.counts(["a"]) == (3, 0)
    spool.forget(8 * 86_400.0)
    assert spool.counts(["a"]) == (0, 0)
    spool.close()


def parcel(uid: str = "r1-1-1", body: bytes = b'{"id":1}') -> Parcel:
    return Parcel(1, uid, "call.ended", body, time.time(), 0)


def test_a_webhook_is_signed_anew_at_each_try_and_keeps_its_id(tmp_path: Path) -> None:
    with Receiver([503, 429, 500]) as receiver:
        with Post([Webhook(receiver.url, [SECRET, b"the older " + SECRET])], tmp_path / "q.db", "r1") as sent:
            one_call(Tally(sent), "alice")
            until(lambda: sent.delivered == 1)
        assert len(receiver.got) == 4
    for headers, body in receiver.got:
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.new(SECRET, signed, sha256).digest()).decode()
        assert headers["webhook-signature"].split()[0] == f"v1,{expected}"
        assert len(headers["webhook-signature"].split()) == 2
        assert headers["webhook-id"] == "r1-1-1"
    assert json.loads(receiver.got[0][1])["call"]["name"] == "alice"


def test_the_signature_is_that_of_standard_webhooks() -> None:
    # The example of the specification's own libraries.
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    said = signature([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert said == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("code", "kind"),
    [(200, Delivered), (301, Refused), (400, Refused), (410, Refused), (408, Later), (502, Later)],
)
def test_what_an_answer_means(code: int, kind: type) -> None:
    with Receiver([code]) as receiver:
        hook = Webhook(receiver.url, [SECRET])
        assert isinstance(hook.deliver(parcel()), kind)
        hook.close()


def test_a_receiver_that_is_not_there_is_tried_later() -> None:
    hook = Webhook(f"http://127.0.0.1:{free_port()}/", [SECRET])
    assert isinstance(hook.deliver(parcel()), Later)


@pytest.mark.parametrize(
    "url", ["http://example.org/", "ftp://localhost/", "https://", "https://me:pw@h/", "http://localhost:x/"]
)
def test_urls_that_cannot_be_right(url: str) -> None:
    with pytest.raises(ConfigError):
        Webhook(url, [SECRET])


def test_secrets_are_read_one_a_line(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"whsec_{base64.b64encode(SECRET).decode()}\n{SECRET.decode()}\n", encoding="utf-8")
    assert secrets_in(file) == [SECRET, SECRET]
    for wrong in ("short", "whsec_!", ""):
        file.write_text(wrong, encoding="utf-8")
        with pytest.raises(ConfigError):
            secrets_in(file)
    with pytest.raises(ConfigError, match="no secret"):
        secrets_in(tmp_path / "none")


class Server:
    """A server that a test kills and starts again on the same port."""

    def __init__(self, port: int, words: Sequence[str]) -> None:
        self.port, self._words = port, list(words)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )
        until(self._answers)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def server(program: str, words: Callable[[int], Sequence[str]]) -> Iterator[Server]:
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin")
    if path is None:
        pytest.skip(f"no {program}: apt install {program}")
    port = free_port()
    made = Server(port, [path, *words(port)])
    made.start()
    try:
        yield made
    finally:
        made.kill()


def through_a_crash(server: Server, sink: Sink, folder: Path) -> list[str]:
    """Send calls while the server is killed and started again; return the ids that were sent."""
    with Post([sink], folder / "q.db", "r1") as sent:
        tally = Tally(sent)
        for n in range(60):
            if n == 20:
                until(lambda: sent.delivered > 5)
                server.kill()
            if n == 40:
                server.start()
            one_call(tally, f"call-{n}", NOON + n, 2)
        until(lambda: sent.counters() == {"sink-delivered": 60})
    return [f"r1-{n}-1" for n in range(1, 61)]


def test_a_redis_that_is_killed_under_load_gets_every_call(tmp_path: Path) -> None:
    redis = pytest.importorskip("redis")
    from streamcab.sinks.redis import RedisStream

    def words(port: int) -> list[str]:
        options = {"port": str(port), "bind": "127.0.0.1", "dir": str(tmp_path), "save": ""}
        options |= {"appendonly": "yes", "appendfsync": "always"}
        return [word for name, value in options.items() for word in (f"--{name}", value)]

    with server("redis-server", words) as running:
        url = f"redis://127.0.0.1:{running.port}/0"
        ids = through_a_crash(running, RedisStream(url, "calls"), tmp_path)
        with redis.Redis.from_url(url) as client:
            got = client.xrange("calls")
            assert sorted({fields[b"id"].decode() for _, fields in got}) == sorted(ids)
            assert json.loads(got[0][1][b"event"])["type"] == "call.ended"
            client.set("text", "x")
        wrong = RedisStream(url, "text")
        assert isinstance(wrong.deliver(parcel()), Refused)
        wrong.close()


def test_a_nats_that_is_killed_under_load_gets_every_call_once(tmp_path: Path) -> None:
    nats = pytest.importorskip("nats")
    import asyncio

    from streamcab.sinks.nats import NatsStream

    async def stored(url: str) -> list[str]:
        client = await nats.connect(url)
        stream = client.jetstream()
        reader = await stream.pull_subscribe("calls.ended", "reader")
        found = [message.headers["Nats-Msg-Id"] for message in await reader.fetch(100, timeout=2)]
        await client.close()
        return found

    with server(
        "nats-server", lambda port: ["-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(tmp_path)]
    ) as it:
        url = f"nats://127.0.0.1:{it.port}"
        ids = through_a_crash(it, NatsStream(url, "calls.ended"), tmp_path)
        assert sorted(asyncio.run(stored(url))) == sorted(ids)
