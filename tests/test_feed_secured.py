"""The feed with keys, over real sockets: who comes in, who is told why not, and what strangers cost."""

import errno
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import zmq
from feeding import PATIENCE_S, hear, status, until
from serving import run, running, save_model
from signals import write_wav
from speech import SMALL_STAGES, talk, tiny_model

from streamcab.audio.ring import Bank
from streamcab.daemon.loop import Daemon
from streamcab.daemon.settings import Settings
from streamcab.errors import FeedError
from streamcab.feed import Publisher, Subscriber
from streamcab.feed.curve import ClientKeys, ServerKeys, create, read_public
from streamcab.message import DaemonStatus
from streamcab.nn.checkpoint import Checkpoint
from streamcab.source import Line

FREE = "tcp://127.0.0.1:*"


class Keys:
    """A folder of keys as an operator keeps it: the server's, and those of clients, each allowed or not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        create(folder / "server", "server")
        self.server = ServerKeys(folder / "server")
        self.server_key = folder / "server" / "server.key"

    def client(self, name: str, allowed: bool = True) -> ClientKeys:
        """A new pair, made elsewhere; its public file is copied to the server."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        secret, public = create(self.folder / name, name)
        if allowed:
            shutil.copy(public, self.server.folder)
        return ClientKeys.load(secret, self.server_key)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys")


@pytest.fixture
def publisher(keys: Keys) -> Iterator[Publisher]:
    with Publisher(FREE, run="a1", keys=keys.server) as publisher:
        publisher.publish(status())
        yield publisher


def refusal(publisher: Publisher, subscriber: Subscriber) -> str:
    """The words in which `subscriber` learns that it will hear nothing."""
    with pytest.raises(FeedError) as refused:
        hear(publisher, subscriber)
    # Said by whatever reads, for as long as somebody asks.
    for read in (lambda: subscriber.recv(0), subscriber.drain, lambda: next(iter(subscriber))):
        with pytest.raises(FeedError):
            read()
    return str(refused.value)


def counted(publisher: Publisher, refused: int) -> None:
    def enough() -> bool:
        publisher._door._monitor.poll(2)
        publisher.poll()
        return publisher.refused >= refused

    until(enough)


def connect(publisher: Publisher) -> socket.socket:
    port = int(publisher.endpoint.rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@contextmanager
def somebody(group: int) -> Iterator[None]:
    """Root as a user without any right but those of `group`."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(group)
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(os.getgid())
        os.setgroups(groups)


def resident() -> int:
    """Bytes of memory of this process."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


class TestWhoComesIn:
    def test_a_key_that_is_allowed(self, keys: Keys, publisher: Publisher) -> None:
        with Subscriber(publisher.endpoint, keys=keys.client("laptop")) as subscriber:
            assert hear(publisher, subscriber)[0].stream == "mic"
        assert publisher.refused == 0

    def test_the_daemons_own(self, keys: Keys, publisher: Publisher) -> None:
        with Subscriber(publisher.endpoint, keys=keys.server.local) as subscriber:
            assert hear(publisher, subscriber)[0].stream == "mic"

    def test_a_key_that_nobody_knows(
        self, keys: Keys, publisher: Publisher, caplog: pytest.LogCaptureFixture
    ) -> None:
        stranger = keys.client("stranger", allowed=False)
        with Subscriber(publisher.endpoint, keys=stranger) as subscriber:
            words = refusal(publisher, subscriber)
        assert f"does not know the key {stranger.own.public.decode()}" in words
        assert "`allow`" in words
        counted(publisher, 1)
        assert "the feed refused an unknown key, from 127.0.0.1" in caplog.text

    def test_the_key_of_the_server_is_no_key_of_a_client(self, keys: Keys, publisher: Publisher) -> None:
        copied = ClientKeys(keys.server.pair, keys.server.pair.public)
        with Subscriber(publisher.endpoint, keys=copied) as subscriber:
            assert "does not know the key" in refusal(publisher, subscriber)

    def test_no_key(self, publisher: Publisher) -> None:
        with Subscriber(publisher.endpoint) as subscriber:
            assert "serves only those who have a key" in refusal(publisher, subscriber)
        counted(publisher, 1)

    def test_the_key_of_another_server(self, keys: Keys, publisher: Publisher) -> None:
        client = keys.client("laptop")
        wrong = ClientKeys(client.own, read_public(keys.folder / "laptop" / "laptop.key"))
        with Subscriber(publisher.endpoint, keys=wrong) as subscriber:
            assert "the server key that was given is not its own" in refusal(publisher, subscriber)
        counted(publisher, 1)

    def test_a_key_for_a_feed_without_any(self, keys: Keys) -> None:
        with (
            Publisher(FREE) as publisher,
            Subscriber(publisher.endpoint, keys=keys.client("laptop")) as subscriber,
        ):
            publisher.publish(status())
            assert "is a feed without keys" in refusal(publisher, subscriber)
            counted(publisher, 1)

    def test_a_replaced_key(self, keys: Keys, publisher: Publisher) -> None:
        old = keys.client("laptop")
        with Subscriber(publisher.endpoint, keys=old) as early:
            hear(publisher, early)
            new = keys.client("laptop")
            with Subscriber(publisher.endpoint, keys=new) as subscriber:
                hear(publisher, subscriber)
            with Subscriber(publisher.endpoint, keys=old) as subscriber:
                assert "does not know the key" in refusal(publisher, subscriber)
            # Who is in stays in, until the connection ends.
            publisher.publish(status())
            assert hear(publisher, early)[0].seq == 2

    def test_a_key_that_is_removed_and_added_again(self, keys: Keys, publisher: Publisher) -> None:
        client, other = keys.client("laptop"), keys.client("other")
        file = keys.server.folder / "laptop.key"
        for _ in range(3):
            with Subscriber(publisher.endpoint, keys=client) as subscriber:
                hear(publisher, subscriber)
            file.unlink()
            with Subscriber(publisher.endpoint, keys=client) as subscriber:
                assert "does not know the key" in refusal(publisher, subscriber)
            with Subscriber(publisher.endpoint, keys=other) as subscriber:
                hear(publisher, subscriber)
            shutil.copy(keys.folder / "laptop" / "laptop.key", file)

    def test_without_its_folder_nobody_new_comes_in(self, keys: Keys, publisher: Publisher) -> None:
        client = keys.client("laptop")
        shutil.rmtree(keys.server.folder)
        with Subscriber(publisher.endpoint, keys=client) as subscriber:
            assert "does not know the key" in refusal(publisher, subscriber)

    def test_nobody_comes_in_while_nobody_decides(self, keys: Keys, publisher: Publisher) -> None:
        with Subscriber(publisher.endpoint, keys=keys.client("laptop")) as subscriber:
            assert subscriber.recv(0.3) is None
            assert hear(publisher, subscriber)[0].stream == "mic"


class TestRestarts:
    def test_a_daemon_that_comes_back_is_heard_again(self, keys: Keys, tmp_path: Path) -> None:
        endpoint = f"ipc://{tmp_path}/feed.ipc"
        with Subscriber(endpoint, keys=keys.client("laptop")) as subscriber:
            for restarts in range(3):
                with Publisher(endpoint, keys=keys.server) as publisher:
                    publisher.publish(status())
                    hear(publisher, subscriber)
                assert subscriber.restarts == restarts

    def test_one_that_comes_back_with_keys_says_so_after_its_last_words(
        self, keys: Keys, tmp_path: Path
    ) -> None:
        endpoint = f"ipc://{tmp_path}/feed.ipc"
        with Subscriber(endpoint) as subscriber:
            with Publisher(endpoint) as publisher:
                publisher.publish(status())
                hear(publisher, subscriber)
                publisher.publish(status("last"))
                publisher.close(linger_s=PATIENCE_S)
            with Publisher(endpoint, keys=keys.server) as publisher:
                counted(publisher, 1)
                assert hear(publisher, subscriber)[0].stream == "last"
                assert "serves only those who have a key" in refusal(publisher, subscriber)

    def test_a_tunnel_to_nobody_is_no_refusal(self) -> None:
        hung_up = threading.Semaphore(0)
        with socket.create_server(("127.0.0.1", 0)) as tunnel:

            def hang_up() -> None:
                for _ in range(3):
                    tunnel.accept()[0].close()
                    hung_up.release()

            thread = threading.Thread(target=hang_up)
            thread.start()
            port = tunnel.getsockname()[1]
            endpoint = f"tcp://127.0.0.1:{port}"
            with Subscriber(endpoint) as plain:
                for _ in range(3):
                    assert hung_up.acquire(timeout=PATIENCE_S)
                    assert plain.recv(0.01) is None
                thread.join()
                tunnel.close()
                with Publisher(endpoint) as publisher:
                    publisher.publish(status())
                    hear(publisher, plain)

    def test_what_is_no_feed_at_all(self, keys: Keys) -> None:
        with socket.create_server(("127.0.0.1", 0)) as web:

            def serve() -> None:
                with web.accept()[0] as client:
                    client.recv(64)
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

            thread = threading.Thread(target=serve)
            thread.start()
            endpoint = f"tcp://127.0.0.1:{web.getsockname()[1]}"
            with (
                Subscriber(endpoint, keys=keys.client("laptop")) as subscriber,
                pytest.raises(FeedError, match="does not speak ZeroMQ"),
            ):
                subscriber.recv(PATIENCE_S)
            thread.join()


class TestWhereItIsBound:
    @pytest.mark.parametrize("endpoint", ["tcp://0.0.0.0:*", "tcp://*:*", "tcp://127.0.0.2:*"])
    def test_with_keys_it_may_leave_the_machine(self, keys: Keys, endpoint: str) -> None:
        with Publisher(endpoint, keys=keys.server) as publisher:
            host, _, port = publisher.endpoint.removeprefix("tcp://").rpartition(":")
            near = f"tcp://{host.replace('0.0.0.0', '127.0.0.1')}:{port}"
            with Subscriber(near, keys=keys.client("laptop")) as subscriber:
                publisher.publish(status())
                hear(publisher, subscriber)
            with Subscriber(near) as subscriber:
                assert "serves only those" in refusal(publisher, subscriber)

    @pytest.mark.parametrize(
        "endpoint", ["tcp://0.0.0.0:*", "tcp://*:*", "tcp://[::]:*", "tcp://192.0.2.7:*"]
    )
    def test_without_keys_it_may_not(self, endpoint: str) -> None:
        with pytest.raises(FeedError, match=r"no keys are configured.*streamcab keys new server"):
            Publisher(endpoint)

    @pytest.mark.parametrize("endpoint", ["tcp://eth0:5557", "tcp://example.org:5557", "tcp://:5557"])
    def test_a_name_is_no_address(self, keys: Keys, endpoint: str) -> None:
        with pytest.raises(FeedError, match=r"is no address; write tcp://0\.0\.0\.0:5557"):
            Publisher(endpoint, keys=keys.server)

    def test_a_group_shares_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "feed.ipc"
        before = os.umask(0o077)
        try:
            group = max(os.getgroups(), default=os.getgid())
            with Publisher(f"ipc://{path}", ipc_group=str(group)) as publisher:
                assert (path.stat().st_mode & 0o777, path.stat().st_gid) == (0o660, group)
                with Subscriber(publisher.endpoint) as subscriber:
                    publisher.publish(status())
                    hear(publisher, subscriber)
        finally:
            os.umask(before)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
    def test_members_come_in_and_others_do_not(self) -> None:
        # Not tmp_path, which is for root alone: others must get as far as the file.
        with tempfile.TemporaryDirectory(prefix="feed") as folder:
            os.chmod(folder, 0o755)
            with Publisher(f"ipc://{folder}/feed.ipc", ipc_group="54321"):
                for group, outcome in ((54321, 0), (54322, errno.EACCES)):
                    with somebody(group), socket.socket(socket.AF_UNIX) as end:
                        assert end.connect_ex(f"{folder}/feed.ipc") == outcome

    @pytest.mark.parametrize(
        ("endpoint", "group", "words"),
        [
            (FREE, "0", "has no file that a group could share"),
            ("ipc://{}/feed.ipc", "no-such-group", "there is none of that name"),
        ],
    )
    def test_a_group_that_cannot_share(self, tmp_path: Path, endpoint: str, group: str, words: str) -> None:
        with pytest.raises(FeedError, match=words):
            Publisher(endpoint.format(tmp_path), ipc_group=group)
        # And nothing stays bound.
        with Publisher(f"ipc://{tmp_path}/feed.ipc"):
            pass


HTTP = b"GET / HTTP/1.1\r\nHost: feed\r\nUser-Agent: scanner\r\nAccept: */*\r\n\r\n"
TLS = bytes.fromhex("16030100c8010000c40303") + bytes(range(190))
NOISE = bytes((i * 167 + 41) % 251 for i in range(4_000))
# The greeting of ZMTP 3.1 with a mechanism that nobody has, with ours and nonsense after it, and half of one.
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01"
ODD = GREETING + b"ROT13".ljust(20, b"\0") + bytes(32)
CURVE = GREETING + b"CURVE".ljust(20, b"\0") + bytes(32) + b"\x04\xc8" + b"\x05HELLO" + bytes(194)
PLAIN = GREETING + b"NULL".ljust(20, b"\0") + bytes(32) + b"\x04\xff" + NOISE
HUGE = GREETING + b"NULL".ljust(20, b"\0") + bytes(32) + b"\x06" + b"\xff" * 8 + NOISE
GARBAGE = {
    "http": HTTP,
    "tls": TLS,
    "noise": NOISE,
    "odd mechanism": ODD,
    "curve nonsense": CURVE,
    "null nonsense": PLAIN,
    "huge frame": HUGE,
    "half a greeting": GREETING[:11],
    "nothing": b"",
}


class TestStrangers:
    @pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "unkeyed"])
    def test_garbage_harms_nobody_and_goes_away(self, keys: Keys, keyed: bool) -> None:
        client = keys.client("laptop") if keyed else None
        with (
            Publisher(FREE, keys=keys.server if keyed else None) as publisher,
            Subscriber(publisher.endpoint, keys=client) as subscriber,
        ):
            publisher.publish(status())
            hear(publisher, subscriber)
            before = descriptors()
            for _ in range(10):
                for garbage in GARBAGE.values():
                    with connect(publisher) as stranger, suppress(ConnectionError):
                        stranger.sendall(garbage)
                    publisher.poll()
            open_ones = [connect(publisher) for _ in range(50)]
            for number, stranger in enumerate(open_ones):
                with suppress(ConnectionError):
                    stranger.sendall(list(GARBAGE.values())[number % len(GARBAGE)])
            for _ in range(100):
                publisher.publish(status())
                hear(publisher, subscriber)
            for stranger in open_ones:
                stranger.close()

            def gone() -> bool:
                publisher.poll()
                subscriber.recv(0.01)
                return descriptors() <= before

            until(gone)
            publisher.publish(status())
            hear(publisher, subscriber)
            assert (publisher.failed, subscriber.missed, subscriber.malformed) == (0, 0, 0)
            assert publisher.refused > 0

    @pytest.mark.parametrize("words", [b"", GREETING[:11]], ids=["silent", "half a greeting"])
    @pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "unkeyed"])
    def test_who_comes_and_says_nothing_is_put_out(
        self, keys: Keys, keyed: bool, words: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("streamcab.feed.zap.HANDSHAKE_MS", 50)
        with (
            Publisher(FREE, keys=keys.server if keyed else None) as publisher,
            connect(publisher) as stranger,
        ):
            stranger.sendall(words)
            while stranger.recv(1_000):
                pass
            counted(publisher, 1)

    @pytest.mark.parametrize("garbage", GARBAGE)
    def test_with_keys_garbage_hears_nothing(self, publisher: Publisher, garbage: str) -> None:
        with connect(publisher) as stranger:
            heard = b""
            with suppress(OSError):  # the feed hung up
                stranger.sendall(GARBAGE[garbage])
                stranger.shutdown(socket.SHUT_WR)
                while piece := stranger.recv(1_000):
                    heard += piece
                    publisher.publish(status())
                    publisher.poll()
        # A greeting and an error at most.
        assert len(heard) <= 128
        assert b"mic" not in heard

    def test_many_who_hang_up_while_nobody_counts_stop_nothing(self, keys: Keys) -> None:
        with (
            Publisher(FREE, keys=keys.server) as publisher,
            Subscriber(publisher.endpoint, keys=keys.client("laptop")) as subscriber,
        ):
            publisher.publish(status())
            hear(publisher, subscriber)
            for _ in range(3_000):
                connect(publisher).close()
            # A monitor of the usual length would be full by now, and all traffic would wait for it.
            publisher.publish(status())
            assert subscriber.recv(PATIENCE_S) is not None
            counted(publisher, 2_500)

    def test_it_closes_while_strangers_wait(self, keys: Keys) -> None:
        publisher = Publisher(FREE, keys=keys.server)
        waiting = [Subscriber(publisher.endpoint, keys=keys.client(f"c{i}")) for i in range(10)]
        silent = [connect(publisher) for _ in range(10)]
        try:
            assert all(one.recv(0.02) is None for one in waiting)
            publisher.close(linger_s=0.1)
            publisher.poll()
        finally:
            for end in (*waiting, *silent):
                end.close()


class TestCrowds:
    def test_a_thousand_come_and_go_and_leave_nothing(self, keys: Keys, publisher: Publisher) -> None:
        client, stranger = keys.client("laptop"), keys.client("stranger", allowed=False)
        served = refused = 0
        with Subscriber(publisher.endpoint, keys=client) as stays, zmq.Context() as context:
            hear(publisher, stays)
            context.socket(zmq.SUB).close()  # from now on the context has all that it needs for itself
            before, memory, most = descriptors(), 0, 0
            for batch in range(40):
                ends = [context.socket(zmq.SUB) for _ in range(25)]
                for number, end in enumerate(ends):
                    keyed = stranger if number % 5 == 0 else client
                    end.linger = 0
                    end.curve_publickey, end.curve_secretkey = keyed.own.public, keyed.own.secret
                    end.curve_serverkey = keyed.server
                    end.subscribe(b"v1/")
                    end.connect(publisher.endpoint)
                waiting = {end for number, end in enumerate(ends) if number % 5}

                def all_served(waiting: set[zmq.Socket[bytes]] = waiting) -> bool:
                    publisher.poll()
                    waiting -= {end for end in waiting if end.poll(0)}
                    stays.recv(0.002)
                    return not waiting

                until(all_served)
                refused += 5
                counted(publisher, refused)
                served += len(ends) - 5
                most = max(most, descriptors())
                for end in ends:
                    end.close()
                if batch == 10:
                    memory = resident()

            def gone() -> bool:
                publisher.poll()
                stays.recv(0.01)
                return descriptors() <= before

            until(gone)
            # A socket has a descriptor, and one for each end of its connection: those of one batch at a time.
            assert most - before <= 25 * 4 + 10
            assert resident() - memory < 16 << 20
            assert (served, refused) == (800, 200)
            assert publisher.failed == 0
            publisher.publish(status())
            hear(publisher, stays)
            assert stays.missed == 0

    def test_who_stops_reading_costs_a_bounded_queue_and_nobody_else_anything(self, keys: Keys) -> None:
        client, queue, total = keys.client("laptop"), 100, 6_000
        with (
            Publisher(FREE, keys=keys.server, queue=queue) as publisher,
            Subscriber(publisher.endpoint, keys=client) as reader,
            zmq.Context() as context,
        ):
            publisher.publish(status())
            hear(publisher, reader)
            stalled = [context.socket(zmq.SUB) for _ in range(10)]
            try:
                for end in stalled:
                    end.linger, end.rcvhwm, end.rcvbuf = 0, 1, 4_096
                    end.curve_publickey, end.curve_secretkey = client.own.public, client.own.secret
                    end.curve_serverkey = client.server
                    end.subscribe(b"v1/mic/")
                    end.connect(publisher.endpoint)

                def joined() -> bool:
                    publisher.poll()
                    return all(end.poll(1) for end in stalled)

                until(joined)
                memory = 0
                for number in range(total // 50):
                    for _ in range(50):
                        publisher.publish(status())
                    for _ in range(50):
                        hear(publisher, reader)
                    if number == total // 100:
                        memory = resident()
                assert (publisher.failed, reader.missed) == (0, 0)
                assert resident() - memory < 16 << 20
            finally:
                for end in stalled:
                    end.close()


class Silent:
    """A source without streams, for a daemon that only listens at its door."""

    live, done = True, False

    def __init__(self) -> None:
        self.bank = Bank(8_000, 1, 8_000)

    def start(self) -> None: ...

    def close(self) -> None: ...

    def streams(self) -> list[Line]:
        return []

    def release(self, line: Line) -> None: ...

    def counters(self) -> dict[str, int]:
        return {}


class TestDaemon:
    @pytest.fixture
    def checkpoint(self) -> Checkpoint:
        return Checkpoint(tiny_model(1, stages=SMALL_STAGES), {"name": "tiny"})

    def test_refusals_are_told_in_its_status(self, keys: Keys, checkpoint: Checkpoint) -> None:
        daemon, stop = Daemon(checkpoint, [Silent()], Settings(FREE, keys=keys.server)), threading.Event()
        thread = threading.Thread(target=daemon.run, args=(stop,))
        thread.start()
        try:
            with Subscriber(daemon.endpoint) as subscriber, pytest.raises(FeedError, match="have a key"):
                subscriber.recv(PATIENCE_S)
            with Subscriber(daemon.endpoint, keys=keys.server.local) as subscriber:

                def told() -> bool:
                    message = subscriber.recv(PATIENCE_S)
                    assert isinstance(message, DaemonStatus)
                    return message.counters.get("feed-refused", 0) >= 1

                until(told)
        finally:
            stop.set()
            thread.join()

    def test_listen_and_watch(self, keys: Keys, checkpoint: Checkpoint, tmp_path: Path) -> None:
        model = save_model(checkpoint, tmp_path)
        talking = write_wav(tmp_path / "talk.wav", talk(5, 16_000), 16_000)
        keys.client("laptop")
        keys.client("stranger", allowed=False)
        endpoint = f"ipc://{tmp_path}/feed.ipc"
        server = ("--server-key", keys.server_key)
        listen = ("listen", "--model", model, "--file", talking, "--loop", "--endpoint", endpoint)
        with running(*listen, "--keys", keys.folder / "server", "--ipc-group", str(os.getgid())) as daemon:
            assert daemon.stdout is not None
            assert b"talk" in daemon.stdout.readline()  # its own view has a key of its own
            with running(
                "watch", endpoint, "--key", keys.folder / "laptop" / "laptop.key_secret", *server
            ) as watch:
                assert watch.stdout is not None
                assert b"talk" in watch.stdout.readline()
            for words, code, said in (
                (
                    ("--key", keys.folder / "stranger" / "stranger.key_secret", *server),
                    1,
                    "does not know the key",
                ),
                ((), 1, "serves only those who have a key"),
                (("--key", keys.folder / "stranger" / "stranger.key", *server), 2, "holds no secret key"),
                (server, 2, "go together"),
            ):
                done = run("watch", endpoint, *words)
                assert done.returncode == code, done.stderr
                assert said in done.stderr.decode()
                assert "Traceback" not in done.stderr.decode()

    def test_listen_without_a_server_key(self, tmp_path: Path, checkpoint: Checkpoint) -> None:
        model = save_model(checkpoint, tmp_path)
        talking = write_wav(tmp_path / "talk.wav", talk(1), 8_000)
        done = run("listen", "--model", model, "--file", talking, "--keys", tmp_path)
        assert done.returncode == 2
        assert "streamcab keys new server" in done.stderr.decode()


def test_keys_and_feed_start_without_torch() -> None:
    probe = (
        "import sys, streamcab.feed.curve, streamcab.feed, streamcab.cli.keys\n"
        "heavy = {'torch', 'numpy', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
