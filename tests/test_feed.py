"""The feed over real sockets: late joiners, repeats, losses, restarts, strangers, stalls, endpoints."""

import contextlib
import resource
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
from feeding import PATIENCE_S, hear, status, until
from ports import free_port

from streamcab import feed
from streamcab.errors import FeedError
from streamcab.feed import ENDPOINT, Publisher, Subscriber
from streamcab.feed.endpoint import bindable
from streamcab.message import DAEMON, AnyMessage, DaemonStatus, ModelInfo, Prediction, Status, encode

FREE = "tcp://127.0.0.1:*"


def prediction(stream: str = "mic", **fields: Any) -> Prediction:
    given = {
        "time": 1.0,
        "sample": 8_000,
        "rate": 8_000,
        "labels": ["us", "uk"],
        "probs": {"us": 0.25, "uk": 0.75},
        "now": {"us": 0.5, "uk": 0.5},
        "top": "uk",
        "confidence": 0.75,
        "state": "live",
        "window_s": 1.0,
        "voiced_s": 1.0,
        "heard_s": 1.0,
        "level_db": -30.0,
        "lag_ms": 70.0,
        "lost_ms": 0.0,
        "overflows": 0,
        "model": "5f0c",
    }
    return Prediction(stream=stream, **{**given, **fields})


def model(stream: str = "mic") -> ModelInfo:
    return ModelInfo(
        stream=stream,
        time=1.0,
        model="5f0c",
        name="test",
        labels=["us", "uk"],
        rate=8_000,
        normaliser="running",
        gate=True,
        window_s=30.0,
        licence="none",
        corpus="none",
    )


def daemon() -> DaemonStatus:
    return DaemonStatus(
        stream=DAEMON, time=1.0, streams=1, pass_ms=1.0, intervals_per_s=40.0, lost_ms=0.0, uptime_s=1.0
    )


def came(publisher: Publisher, socket: zmq.Socket[bytes]) -> bool:
    """Whether something is there to be read from `socket`, after a turn of the publisher's loop."""
    publisher.poll()
    return bool(socket.poll(10))


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher(FREE, run="a1") as publisher:
        yield publisher


@pytest.fixture
def subscriber(publisher: Publisher) -> Iterator[Subscriber]:
    """One that is known to be connected."""
    with Subscriber(publisher.endpoint) as subscriber:
        publisher.publish(daemon())
        hear(publisher, subscriber, 1)
        yield subscriber


@pytest.fixture
def raw() -> Iterator[zmq.Socket[bytes]]:
    """The sending end of a feed without anything of ours in it."""
    with zmq.Context() as context, context.socket(zmq.XPUB) as sender:
        sender.linger = 0
        sender.bind(FREE)
        yield sender


def send(raw: zmq.Socket[bytes], message: AnyMessage, run: str, seq: int) -> None:
    kind = {Prediction: "prediction", Status: "status", ModelInfo: "model", DaemonStatus: "daemon"}[
        type(message)
    ]
    body = encode(msgspec.structs.replace(message, run=run, seq=seq))
    raw.send_multipart([f"v1/{message.stream}/{kind}".encode(), body])


def subscribed(raw: zmq.Socket[bytes]) -> bytes:
    assert raw.poll(PATIENCE_S * 1000)
    return raw.recv()


def test_what_is_published_arrives_with_run_and_seq(publisher: Publisher, subscriber: Subscriber) -> None:
    sent = [publisher.publish(m) for m in (model(), status(), prediction(), prediction(top="us"), daemon())]
    assert hear(publisher, subscriber, 5) == sent
    assert [(m.run, m.seq) for m in sent] == [("a1", 1), ("a1", 1), ("a1", 1), ("a1", 2), ("a1", 2)]
    assert (publisher.failed, subscriber.missed, subscriber.malformed) == (0, 0, 0)


def test_two_starts_have_two_runs() -> None:
    with Publisher(FREE) as one, Publisher(FREE) as other:
        assert one.run
        assert one.run != other.run


def test_a_late_joiner_gets_the_last_of_everything_and_nobody_gets_it_twice(
    publisher: Publisher, subscriber: Subscriber
) -> None:
    publisher.publish(model())
    for _ in range(5):
        publisher.publish(status())
        publisher.publish(prediction())
    hear(publisher, subscriber, 11)
    with Subscriber(publisher.endpoint, streams="mic") as late:
        got = hear(publisher, late, 3)
        assert {(type(m), m.seq) for m in got} == {(ModelInfo, 1), (Status, 5), (Prediction, 5)}
        publisher.publish(prediction())
        assert hear(publisher, late, 1)[0].seq == 6
    assert [m.seq for m in hear(publisher, subscriber, 1)] == [6]
    assert subscriber.repeats >= 3
    assert (subscriber.missed, subscriber.restarts) == (0, 0)


def test_a_second_joiner_of_the_same_topic_is_served_too(publisher: Publisher) -> None:
    publisher.publish(model())
    for _ in range(3):
        with Subscriber(publisher.endpoint, ["mic"], ["model"]) as late:
            assert hear(publisher, late, 1)[0].seq == 1


@pytest.mark.parametrize(
    ("streams", "kinds", "expected"),
    [
        (None, None, {"mic/model", "mic/prediction", "mic2/model", "mic2/prediction", "daemon/daemon"}),
        ("mic", None, {"mic/model", "mic/prediction"}),
        (["mic"], ["prediction"], {"mic/prediction"}),
        (["mic2", DAEMON], None, {"mic2/model", "mic2/prediction", "daemon/daemon"}),
        (None, ["model"], {"mic/model", "mic2/model"}),
        (None, "prediction", {"mic/prediction", "mic2/prediction"}),
    ],
)
def test_a_subscriber_gets_what_it_asked_for(
    publisher: Publisher, streams: Any, kinds: Any, expected: set[str]
) -> None:
    for message in (daemon(), model("mic2"), prediction("mic2"), model("mic"), prediction("mic")):
        publisher.publish(message)
    with Subscriber(publisher.endpoint, streams, kinds) as subscriber:
        got = hear(publisher, subscriber, len(expected))
        # A message under each topic, in a known order, shows that nothing else was on its way.
        for message in (daemon(), model("mic2"), prediction("mic2"), model("mic"), prediction("mic")):
            publisher.publish(message)
        got += hear(publisher, subscriber, len(expected))
        names = {DaemonStatus: "daemon", ModelInfo: "model", Prediction: "prediction"}
        assert {f"{m.stream}/{names[type(m)]}" for m in got} == expected
        assert subscriber.malformed == 0


def test_wrong_names_are_a_mistake_in_the_program(publisher: Publisher) -> None:
    for wrong in ({"streams": "a/b"}, {"streams": [""]}, {"kinds": "predictions"}, {"kinds": ["model", "x"]}):
        with pytest.raises(ValueError, match=r"name a stream|not a kind"):
            Subscriber(publisher.endpoint, **wrong)
    for message in (
        status("a/b"),
        status(""),
        status(DAEMON),
        msgspec.structs.replace(daemon(), stream="mic"),
    ):
        with pytest.raises(ValueError, match="cannot name a stream"):
            publisher.publish(message)


def test_what_cannot_be_sent_is_counted_and_not_raised(publisher: Publisher) -> None:
    with Subscriber(publisher.endpoint):
        until(lambda: bool(publisher.poll() or publisher.joined))
        publisher.publish(status(source="file: caf\udce9.wav"))  # a file name that is not UTF-8
        assert (publisher.failed, publisher.sent) == (1, 0)
        publisher.close()
        publisher.close()
        publisher.publish(status())
        publisher.poll()
    assert (publisher.failed, publisher.sent) == (2, 0)


def test_what_nobody_has_subscribed_to_is_not_sent_and_still_there_for_who_does(publisher: Publisher) -> None:
    publisher.publish(prediction())
    assert publisher.sent == 0
    with zmq.Context() as context, context.socket(zmq.SUB) as some:
        some.linger = 0
        some.connect(publisher.endpoint)
        for prefix, wanted in ((b"v1/mic/", 2), (b"v1/mic/prediction", 1), (b"v1/oth", 0), (b"v1/", 2)):
            taken = publisher.joined
            some.subscribe(prefix)
            until(lambda taken=taken: bool(publisher.poll() or publisher.joined > taken))
            sent, repeated = publisher.sent, publisher.repeated
            publisher.publish(prediction())
            publisher.publish(status())
            assert (publisher.sent - sent, publisher.repeated) == (wanted, repeated), prefix
            some.unsubscribe(prefix)

            def forgotten() -> bool:
                publisher.poll()
                sent = publisher.sent
                publisher.publish(prediction())
                return publisher.sent == sent

            until(forgotten)
        some.subscribe(b"v1/mic/prediction")
        until(lambda: came(publisher, some))
        assert some.recv_multipart()[0] == b"v1/mic/prediction"
        assert publisher.repeated > 0


def test_a_gap_is_counted_and_a_restart_is_none(raw: zmq.Socket[bytes]) -> None:
    with Subscriber(raw.last_endpoint.decode()) as subscriber:
        subscribed(raw)
        for run, seq in [("a", 41), ("a", 42), ("a", 45), ("a", 44), ("a", 45), ("b", 1), ("b", 2)]:
            send(raw, prediction(), run, seq)
        send(raw, status(), "b", 9)
        got = [subscriber.recv(PATIENCE_S) for _ in range(6)]
        assert [(m.run, m.seq) for m in got if m] == [
            ("a", 41), ("a", 42), ("a", 45), ("b", 1), ("b", 2), ("b", 9)
        ]  # fmt: skip
        assert (subscriber.missed, subscriber.repeats, subscriber.restarts, subscriber.run) == (2, 2, 1, "b")


def test_after_the_end_a_name_may_be_given_away(raw: zmq.Socket[bytes]) -> None:
    with Subscriber(raw.last_endpoint.decode()) as subscriber:
        subscribed(raw)
        send(raw, model(), "a", 1)
        send(raw, prediction(), "a", 7)
        send(raw, status(state="ended"), "a", 3)
        send(raw, prediction(state="ended"), "a", 8)
        send(raw, prediction(state="ended"), "a", 8)
        for message in (model(), status(), prediction()):
            send(raw, message, "a", 500)
        got = [subscriber.recv(PATIENCE_S) for _ in range(7)]
        assert [m.seq for m in got if m] == [1, 7, 3, 8, 500, 500, 500]
        assert (subscriber.missed, subscriber.repeats) == (0, 1)
        send(raw, prediction(), "a", 502)
        assert subscriber.recv(PATIENCE_S)
        assert subscriber.missed == 1


GOOD = encode(msgspec.structs.replace(status(), run="a", seq=1))
GARBAGE = [
    [b"v1/mic/status"],
    [b"v1/mic/status", GOOD, b"more"],
    [b"v1/mic/status", b""],
    [b"v1/mic/status", b"\xff\xfe"],
    [b"v1/mic/status", b"null"],
    [b"v1/mic/status", b"[]"],
    [b"v1/mic/status", b'{"kind":"status"}'],
    [b"v1/mic/status", GOOD[:-1]],
    [b"v1/mic/status", GOOD.replace(b'"run":"a"', b'"run":""')],
    [b"v1/mic/status", GOOD.replace(b'"seq":1', b'"seq":"1"')],
    [b"v1/mic/status", GOOD.replace(b'"kind":"status"', b'"kind":"rain"')],
    [b"v1/mic/status", b'{"x":' + b"[" * 100_000],
    [b"v1/mic2/status", GOOD],
    [b"v1/mic/prediction", GOOD],
    [b"v1/mic/more/status", GOOD],
    [b"v1/", GOOD],
    [b"v1/\xe9/status", GOOD],
]


def test_garbage_is_counted_and_never_raised(raw: zmq.Socket[bytes]) -> None:
    with Subscriber(raw.last_endpoint.decode()) as subscriber:
        subscribed(raw)
        for frames in GARBAGE:
            raw.send_multipart(frames)
        raw.send_multipart([b"v1/mic/weather", b"a kind of a newer daemon"])
        send(raw, status(), "a", 1)
        message = subscriber.recv(PATIENCE_S)
        assert message == msgspec.structs.replace(status(), run="a", seq=1)
        assert subscriber.malformed == len(GARBAGE)
        for frames in GARBAGE:
            raw.send_multipart(frames)
        send(raw, status(), "a", 2)
        drained: list[AnyMessage] = []

        def arrived() -> bool:
            drained.extend(subscriber.drain() if subscriber._socket.poll(10) else [])
            return bool(drained)

        until(arrived)
        assert [m.seq for m in drained] == [2]
        assert subscriber.malformed == 2 * len(GARBAGE)


def test_a_publisher_survives_strangers(publisher: Publisher, subscriber: Subscriber) -> None:
    port = int(publisher.endpoint.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as scanner:
        scanner.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        with zmq.Context() as context, context.socket(zmq.XSUB) as stranger:
            stranger.linger = 0
            stranger.connect(publisher.endpoint)
            for frame in (
                b"",
                b"\x00",
                b"\x01\xff\xfe/",
                b"\x01v1/\xe9/",
                b"\x01v1/mic/\xe9",
                b"no",
                b"\x02\x01",
            ):
                stranger.send(frame)
            stranger.send(b"\x01v1/mic/")
            publisher.publish(status())
            until(lambda: came(publisher, stranger))
            assert stranger.recv_multipart()[0] == b"v1/mic/status"
    assert hear(publisher, subscriber, 1)[0].seq == 1
    assert publisher.failed == 0


def test_a_message_without_end_is_not_taken_and_the_feed_goes_on(raw: zmq.Socket[bytes]) -> None:
    """libzmq drops the connection with its message and gives it up for good: it is made anew."""
    with Subscriber(raw.last_endpoint.decode()) as subscriber:
        assert subscribed(raw) == b"\x01v1/"
        for round in (1, 3):
            send(raw, status(detail="x" * 2_000_000), "a", round)
            assert subscribed(raw) == b"\x00v1/"
            until(lambda: subscriber.recv(0.05) is None and bool(raw.poll(0)))
            assert subscribed(raw) == b"\x01v1/"
            send(raw, status(detail="short"), "a", round + 1)
            message = subscriber.recv(PATIENCE_S)
            assert isinstance(message, Status)
            assert message.detail == "short"
        assert subscriber.malformed == 0


def test_who_waits_without_end_is_connected_anew_too(raw: zmq.Socket[bytes]) -> None:
    heard: list[AnyMessage | None] = []
    with Subscriber(raw.last_endpoint.decode()) as subscriber:
        waiting = threading.Thread(target=lambda: heard.append(subscriber.recv()))
        waiting.start()
        subscribed(raw)
        send(raw, status(detail="x" * 2_000_000), "a", 1)
        assert subscribed(raw) == b"\x00v1/"
        assert subscribed(raw) == b"\x01v1/"
        send(raw, status(), "a", 2)
        waiting.join(PATIENCE_S)
    assert [m and m.seq for m in heard] == [2]


PUBLISHING = """
import sys, threading
from streamcab.feed import Publisher
with Publisher("tcp://127.0.0.1:*") as publisher:
    print(publisher.endpoint, flush=True)
    sys.stdin.read()
"""


def test_a_thousand_come_at_once_to_a_daemon_that_is_busy() -> None:
    """It accepts none of them for the moment, and the kernel keeps them all waiting."""
    crowd = 1_000
    if int(Path("/proc/sys/net/core/somaxconn").read_text(encoding="utf-8")) < crowd:
        pytest.skip(f"net.core.somaxconn is less than {crowd} here")
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < crowd + 100:
        pytest.skip(f"fewer than {crowd + 100} descriptors may be open here: ulimit -n")
    with (
        subprocess.Popen(
            [sys.executable, "-c", PUBLISHING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process,
        contextlib.ExitStack() as stack,
    ):
        stack.callback(process.kill)
        assert process.stdout is not None
        host, _, port = process.stdout.readline().strip().removeprefix("tcp://").rpartition(":")
        process.send_signal(signal.SIGSTOP)
        until(lambda: Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").split()[2] == "T")
        waiting = selectors.DefaultSelector()
        for _ in range(crowd):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex((host, int(port)))
            waiting.register(sock, selectors.EVENT_WRITE)

        def come() -> bool:
            for key, _ in waiting.select(0.1):
                waiting.unregister(key.fileobj)
            return not waiting.get_map()

        until(come)


@pytest.mark.parametrize(("length", "taken"), [(1_000, True), (2_000, False)])
def test_who_subscribes_to_a_name_without_end_is_put_out(
    publisher: Publisher, length: int, taken: bool
) -> None:
    with zmq.Context() as context, context.socket(zmq.XSUB) as stranger:
        stranger.linger = 0
        put_out = stranger.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        try:
            stranger.connect(publisher.endpoint)
            stranger.send(b"\x01v1/" + bytes(length))
            until(lambda: bool(publisher.poll() or publisher.joined or put_out.poll(0)))
            assert publisher.joined == taken
        finally:
            stranger.disable_monitor()
            put_out.close(0)


def test_a_stalled_subscriber_costs_a_bounded_queue_and_nobody_else_anything(tmp_path: Path) -> None:
    total, queue = 6_000, 100
    with (
        Publisher(f"ipc://{tmp_path}/feed.ipc", queue=queue) as publisher,
        Subscriber(publisher.endpoint) as reader,
        zmq.Context() as context,
        context.socket(zmq.SUB) as stalled,
    ):
        stalled.setsockopt(zmq.RCVHWM, 1)
        stalled.subscribe(b"v1/mic/")
        stalled.connect(publisher.endpoint)
        publisher.publish(status())
        hear(publisher, reader, 1)
        until(lambda: came(publisher, stalled))
        for _ in range(total // 50):
            for _ in range(50):
                publisher.publish(prediction())
            assert len(hear(publisher, reader, 50)) == 50
        assert (publisher.failed, reader.missed) == (0, 0)
        waited = 0
        while stalled.poll(500):
            stalled.recv_multipart()
            waited += 1
        # Its queue, and what the kernel and the batches of ZeroMQ hold: the same for any `total`.
        assert queue <= waited < total // 2


def test_no_heartbeats_since_libzmq_aborts_a_stalled_subscriber_that_has_them(
    publisher: Publisher, subscriber: Subscriber
) -> None:
    for end in (publisher, subscriber):
        assert end._socket.getsockopt(zmq.HEARTBEAT_IVL) == 0
        assert end._socket.getsockopt(zmq.TCP_KEEPALIVE) == 1
    assert subscriber._socket.getsockopt(zmq.RCVHWM) > 0
    assert publisher._socket.getsockopt(zmq.SNDHWM) > 0


def test_a_storm_of_joiners_is_served_in_small_bites(publisher: Publisher) -> None:
    streams, joiners = 1_000, 20
    for number in range(streams):
        publisher.publish(status(f"call-{number}"))
        publisher.publish(model(f"call-{number}"))
    with zmq.Context() as context:
        everybody = [context.socket(zmq.SUB) for _ in range(joiners)]
        try:
            for one in everybody:
                one.rcvhwm = 100_000
                one.subscribe(b"v1/")
                one.connect(publisher.endpoint)
            topics: list[set[bytes]] = [set() for _ in everybody]
            bites = []

            def served() -> bool:
                before = publisher.repeated, publisher.joined
                publisher.poll()
                bites.append((publisher.repeated - before[0], publisher.joined - before[1]))
                for one, got in zip(everybody, topics, strict=True):
                    while one.poll(0):
                        got.add(one.recv_multipart()[0])
                return all(len(got) == 2 * streams for got in topics)

            until(served)
            assert max(repeats for repeats, _ in bites) <= feed.REPEATS
            assert max(joined for _, joined in bites) <= feed.SUBSCRIPTIONS
            assert publisher.joined == joiners
        finally:
            for one in everybody:
                one.close(0)


def test_an_ended_stream_is_told_of_for_a_while(publisher: Publisher) -> None:
    publisher.publish(prediction(state="ended"))
    publisher.forget("mic")
    publisher.forget("mic")
    publisher.forget("never seen")
    with Subscriber(publisher.endpoint, "mic") as late:
        assert hear(publisher, late, 1)[0].seq == 1
        # Back within that while, the name counts on.
        publisher.publish(prediction())
        assert hear(publisher, late, 1)[0].seq == 2
        assert late.missed == 0


def test_an_ended_stream_gives_its_memory_back() -> None:
    with Publisher(FREE, ended_s=0.0) as publisher, Subscriber(publisher.endpoint) as subscriber:
        for _ in range(3):
            publisher.publish(prediction())
        hear(publisher, subscriber, 1)
        publisher.publish(prediction(state="ended"))
        publisher.forget("mic")
        assert not publisher._streams
        assert not publisher._ended
        publisher.publish(daemon())
        until(lambda: isinstance(hear(publisher, subscriber, 1)[0], DaemonStatus))
        # A new stream of that name is no repeat to those who knew the old one.
        assert publisher.publish(prediction()).seq == 5
        assert hear(publisher, subscriber, 1)[0].seq == 5
        assert subscriber.missed == 0


def test_churn_costs_nothing_in_the_long_run(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamcab.feed.publisher.ENDED_STREAMS", 10)
    monkeypatch.setattr("streamcab.feed.subscriber.SEEN_STREAMS", 20)
    with Subscriber(publisher.endpoint) as subscriber:
        for number in range(100):
            publisher.publish(prediction(f"call-{number}", state="ended"))
            publisher.forget(f"call-{number}")
        publisher.publish(daemon())
        until(lambda: isinstance(hear(publisher, subscriber, 1)[0], DaemonStatus))
        assert list(publisher._ended) == [f"call-{number}" for number in range(90, 100)]
        for number in range(100):
            publisher.publish(status(f"more-{number}"))
        hear(publisher, subscriber, 100)
        assert len(subscriber._seen) <= 20


@pytest.mark.parametrize(("name", "value", "kept"), [("OVER_STREAMS", 20, 20), ("OVER_S", -1.0, 0)])
def test_a_subscriber_forgets_streams_that_ended(
    name: str, value: float, kept: int, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"streamcab.feed.subscriber.{name}", value)
    with Subscriber(publisher.endpoint) as subscriber:
        publisher.publish(daemon())
        until(lambda: isinstance(hear(publisher, subscriber, 1)[0], DaemonStatus))
        for number in range(100):
            publisher.publish(status("mic"))
            publisher.publish(prediction(f"call-{number}"))
            publisher.publish(prediction(f"call-{number}", state="ended"))
        hear(publisher, subscriber, 300)
        assert len(subscriber._seen) == kept + 2
        assert len(subscriber._over) == kept
        # One that was forgotten and is there again has missed nothing.
        publisher.publish(prediction("call-0"))
        assert hear(publisher, subscriber, 1)[0].stream == "call-0"
        assert "call-0" in subscriber._seen
        assert subscriber.missed == 0


def test_the_last_words_leave_before_the_socket_closes() -> None:
    publisher = Publisher(FREE)
    with Subscriber(publisher.endpoint) as subscriber:
        publisher.publish(daemon())
        hear(publisher, subscriber, 1)
        for _ in range(500):
            publisher.publish(prediction(state="ended"))
        publisher.close(linger_s=PATIENCE_S)
        got = [subscriber.recv(PATIENCE_S) for _ in range(500)]
        assert got[-1] is not None
        assert got[-1].seq == 500


def test_age_and_timeouts(publisher: Publisher) -> None:
    with Subscriber(publisher.endpoint, kinds="model") as subscriber:
        assert subscriber.recv(0) is None
        assert subscriber.recv(0.01) is None
        assert subscriber.drain() == []
        assert subscriber.age == float("inf")
        assert not subscriber.alive
        publisher.publish(daemon())  # not asked for, but a sign of life

        def alive() -> bool:
            publisher.poll()
            assert subscriber.recv(0.01) is None
            return subscriber.alive

        until(alive)
        assert 0 <= subscriber.age < feed.DEAD_S


def test_a_subscriber_is_an_iterable_that_may_come_first() -> None:
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    with Subscriber(endpoint) as subscriber, Publisher(endpoint) as publisher:
        publisher.publish(model())
        publisher.publish(status())
        until(lambda: came(publisher, subscriber._socket))
        messages = iter(subscriber)
        assert {type(next(messages)), type(next(messages))} == {ModelInfo, Status}


def test_a_daemon_that_comes_back_is_heard_again(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/feed.ipc"
    with Subscriber(endpoint) as subscriber:
        for restarts, run in enumerate("abc"):
            with Publisher(endpoint, run=run) as publisher:
                publisher.publish(status())
                assert hear(publisher, subscriber, 1)[0].run == run
            assert (subscriber.restarts, subscriber.missed) == (restarts, 0)


@pytest.mark.parametrize(
    "endpoint", ["127.0.0.1:5557", "tcp://127.0.0.1", "http://x:1", "", "tcp://127.0.0.1:*"]
)
def test_what_cannot_be_connected_to(endpoint: str) -> None:
    with pytest.raises(FeedError, match=ENDPOINT):
        Subscriber(endpoint)


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp://*:5557",
        "tcp://*:*",
        "tcp://0.0.0.0:5557",
        "tcp://0:5557",
        "tcp://[::]:5557",
        "tcp://[::ffff:0.0.0.0]:5557",
        "tcp://:5557",
        "tcp://10.0.0.7:5557",
        "tcp://192.168.1.2:*",
        "tcp://[fe80::1]:5557",
        "tcp://eth0:5557",
        "tcp://lo:5557",
        "tcp://example.org:5557",
        "tcp://localhost.example.org:5557",
        "tcp://127.0.0.1.example.org:5557",
        "tcp://126.255.255.255:5557",
        "tcp://128.0.0.1:5557",
        "tcp://127.1:5557",
        "tcp://0x7f000001:5557",
        "tcp://eth0;127.0.0.1:5557",
    ],
)
def test_no_address_that_others_could_reach(endpoint: str) -> None:
    with pytest.raises(FeedError, match=r"no keys are configured.*ssh -L"):
        Publisher(endpoint)


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "mic",
        "127.0.0.1:5557",
        "udp://127.0.0.1:1",
        "inproc://x",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:-1",
        "tcp://127.0.0.1:5557\n",
        "tcp://::1:5557",
        "TCP://127.0.0.1:1",
    ],
)
def test_what_is_no_endpoint(endpoint: str) -> None:
    with pytest.raises(FeedError, match="cannot carry the feed: write"):
        Publisher(endpoint)


@pytest.mark.parametrize(
    "endpoint", ["tcp://127.0.0.1:0", "tcp://127.8.8.8:*", "tcp://localhost:*", "tcp://[::1]:*"]
)
def test_loopback_in_other_spellings(endpoint: str) -> None:
    if "::1" in endpoint:
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 on this machine")
    with Publisher(endpoint) as publisher, Subscriber(publisher.endpoint) as subscriber:
        assert not publisher.endpoint.endswith((":0", ":*"))
        publisher.publish(status())
        hear(publisher, subscriber, 1)


def test_a_port_that_is_taken(publisher: Publisher) -> None:
    with pytest.raises(FeedError, match=rf"{publisher.endpoint} is taken.*choose another"):
        Publisher(publisher.endpoint)


def test_the_default_is_loopback() -> None:
    assert bindable(ENDPOINT) == ENDPOINT


class TestIpc:
    def test_it_carries_the_feed(self, tmp_path: Path) -> None:
        path = tmp_path / "feed.ipc"
        with Publisher(f"ipc://{path}") as publisher, Subscriber(publisher.endpoint) as subscriber:
            publisher.publish(status())
            hear(publisher, subscriber, 1)
            assert path.is_socket()

    def test_one_that_is_in_use_is_left_alone(self, tmp_path: Path) -> None:
        endpoint = f"ipc://{tmp_path}/feed.ipc"
        with Publisher(endpoint) as publisher:
            with pytest.raises(FeedError, match="is taken"):
                Publisher(endpoint)
            with Subscriber(endpoint) as subscriber:
                publisher.publish(status())
                hear(publisher, subscriber, 1)

    def test_one_that_a_dead_daemon_left_is_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "feed.ipc"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
            dead.listen()
        assert path.is_socket()
        with Publisher(f"ipc://{path}") as publisher, Subscriber(publisher.endpoint) as subscriber:
            publisher.publish(status())
            hear(publisher, subscriber, 1)

    def test_any_other_file_is_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "thesis.txt"
        path.write_text("years of work")
        with pytest.raises(FeedError, match="no socket"):
            Publisher(f"ipc://{path}")
        assert path.read_text(encoding="utf-8") == "years of work"

    def test_no_directory(self, tmp_path: Path) -> None:
        with pytest.raises(FeedError, match="there is no directory"):
            Publisher(f"ipc://{tmp_path}/none/feed.ipc")

    @pytest.mark.parametrize("endpoint", ["ipc://", "ipc://*", "ipc://@abstract"])
    def test_no_file(self, endpoint: str) -> None:
        with pytest.raises(FeedError, match="no file"):
            Publisher(endpoint)

    def test_a_path_that_is_too_long(self, tmp_path: Path) -> None:
        with pytest.raises(FeedError, match="cannot be bound"):
            Publisher(f"ipc://{tmp_path}/{'x' * 120}")
