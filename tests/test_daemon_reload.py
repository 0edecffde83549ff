"""SIGHUP to the real command: what it takes, what it asks a restart for, and that nothing else moves."""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import numpy as np
import pytest
from patience import PATIENCE_S
from patience import until as eventually
from ports import free_port
from rtp_peer import Talker, sending
from serving import ANYWHERE, Hand, running, save_model, until
from speech import SMALL_STAGES, talk, tiny_model
from test_ops_notify import Listener

from streamcab.config.files import Recordings
from streamcab.config.setting import build, settings_of
from streamcab.config.tree import Listen
from streamcab.daemon import loop
from streamcab.daemon.reload import Parts, Reload, limits
from streamcab.daemon.settings import Settings
from streamcab.feed import Subscriber
from streamcab.feed.curve import ClientKeys, create
from streamcab.message import AnyMessage, DaemonStatus, Prediction, Status, decode
from streamcab.nn.checkpoint import Checkpoint
from streamcab.ops.logs import Log
from streamcab.record.recorder import Recorder
from streamcab.record.retention import Retention
from streamcab.store.database import url_of
from streamcab.store.writer import Keep, Writer


class Call:
    """Packets of G.711 from a port of its own, 50 a second, until it ends."""

    def __init__(self, port: int, ssrc: int) -> None:
        self._to, self._talker, self._over = ("127.0.0.1", port), Talker(ssrc=ssrc), threading.Event()
        self._thread = threading.Thread(target=self._talk)

    def _talk(self) -> None:
        with sending() as sock:
            while not self._over.wait(0.02):
                sock.sendto(self._talker.say(bytes(range(160)))[0], self._to)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


class Daemon:
    """`streamcab listen` with a TOML file that a test writes anew."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port(2)
        save_model(Checkpoint(tiny_model(3, stages=SMALL_STAGES), {"name": "tiny"}), folder)
        self.endpoint = f"ipc://{folder}/feed.ipc"
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def settings(self, **settings: object) -> None:
        """The whole of the file, in place of what was there."""
        fixed = {
            "rtp": f"127.0.0.1:{self.port}",
            "model": str(self.folder / "model.safetensors"),
            "endpoint": self.endpoint,
            "log_file": str(self.log),
            "max_streams": 4,
            "idle": 1.0,
        }
        lines = [f"{key} = {_toml(value)}" for key, value in {**fixed, **settings}.items()]
        (self.folder / "mic.toml").write_text("\n".join(lines))

    def hang_up(self, answer: str) -> str:
        """SIGHUP, and the line with which it is answered."""
        before = self.answers()
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)
        eventually(lambda: len(self.answers()) > len(before))
        line = self.answers()[-1]
        assert answer in line, line
        return line

    def answers(self) -> list[str]:
        """Lines of the log that answer a SIGHUP for good."""
        text = self.log.read_text(encoding="utf-8") if self.log.exists() else ""
        return [
            line for line in text.splitlines() if "SIGHUP: " in line and "settings not changed" not in line
        ]

    @contextmanager
    def running(self, *words: str, env: dict[str, str] | None = None) -> Iterator[None]:
        """While it serves."""
        more = ("--config", self.folder / "mic.toml", "--quiet", *words)
        with running("listen", *more, env=env) as self.process:
            eventually(lambda: Path(self.folder, "feed.ipc").exists() or self.process.poll() is not None)
            assert self.process.poll() is None, self.process.stderr.read()  # type: ignore[union-attr]
            yield
            self.process.send_signal(signal.SIGTERM)
            _, errors = self.process.communicate(timeout=PATIENCE_S)
            assert self.process.returncode == 0, errors
            assert b"Traceback" not in errors


def _toml(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


@pytest.fixture
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Daemon:
    # Short: the name of a socket has at most 107 bytes.
    return Daemon(tmp_path_factory.mktemp("r"))


def test_names_senders_and_log_are_taken_and_the_rest_is_named(daemon: Daemon) -> None:
    names = daemon.folder / "names.csv"
    names.write_text("127.0.0.1,*,*,before\n")
    daemon.settings(name_map=str(names))
    with daemon.running(), Subscriber(daemon.endpoint) as feed:
        with Call(daemon.port, 1):
            until(feed, lambda m: m.stream == "before")

            # Nothing has changed but the file of names, which bears the same name.
            names.write_text("127.0.0.1,*,*,after\n")
            daemon.hang_up("SIGHUP: no reloadable setting has changed")
            with Call(daemon.port, 2):
                until(feed, lambda m: m.stream == "after")

        # Another level, senders that are nobody here, a file that logrotate has moved away.
        shutil.move(daemon.log, daemon.folder / "log.1")
        daemon.settings(name_map=str(names), log_level="info", allow=["192.0.2.0/24"], window=20)
        line = daemon.hang_up("applied: --allow, --log-level; restart needed for: --window")
        assert "WARNING" in line
        with Call(daemon.port, 3):
            until(feed, lambda m: isinstance(m, DaemonStatus) and m.counters.get("not_allowed", 0) > 50)
        daemon.settings(name_map=str(names), log_level="info", idle=0.5)
        daemon.hang_up("applied: --allow, --idle")
        feed.drain()  # of the second call, which has stopped and is perhaps still waited for
        with Call(daemon.port, 4):
            until(
                feed,
                lambda m: isinstance(m, Status) and m.stream.startswith("after") and m.source_state == "live",
            )
        over = re.compile(r"after(-2)? ended: no packet for 0.5 s")
        eventually(lambda: over.search(daemon.log.read_text(encoding="utf-8")))
    assert "SIGHUP: no reloadable setting has changed" in (daemon.folder / "log.1").read_text(
        encoding="utf-8"
    )


def test_answers_come_as_often_as_the_settings_say_anew(daemon: Daemon) -> None:
    daemon.settings(every=3600.0)
    with daemon.running(), Subscriber(daemon.endpoint) as feed, Call(daemon.port, 8):
        until(feed, lambda m: isinstance(m, Prediction))
        daemon.settings(every=0.1)
        daemon.hang_up("applied: --every")
        heard = until(feed, lambda m: isinstance(m, Prediction) and m.seq >= 12)
        samples = [m.sample for m in heard if isinstance(m, Prediction)][-8:]
        assert np.median(np.diff(samples)) < 0.2 * 8000


def test_what_is_wrong_changes_nothing(daemon: Daemon) -> None:
    daemon.settings()
    with daemon.running(), Subscriber(daemon.endpoint) as feed:
        for text, told in (
            ("every = ", "is not valid TOML"),
            ("evry = 1", "did you mean every?"),
            ('log_level = "loud"', "log_level is 'loud'; it can be debug, info"),
            ('allow = ["nowhere"]', "not a network: 'nowhere'"),
            ('name_map = "/nowhere"', "cannot read the name map /nowhere"),
        ):
            (daemon.folder / "mic.toml").write_text(text)
            daemon.hang_up("no reloadable setting has changed")
            assert told in daemon.log.read_text(encoding="utf-8")
        with Call(daemon.port, 5):
            until(feed, lambda m: m.stream.startswith("rtp-127.0.0.1-"))


def test_a_log_that_cannot_be_opened_anew_goes_on_where_it_was(daemon: Daemon) -> None:
    daemon.settings()
    with daemon.running():
        daemon.settings(log_file="/nowhere/log")
        assert "cannot write the log /nowhere/log" in daemon.hang_up("SIGHUP: ")


def test_the_feed_goes_to_a_file_that_may_be_moved_away(daemon: Daemon, tmp_path: Path) -> None:
    daemon.settings(jsonl=str(tmp_path / "feed.jsonl"), jsonl_max_mb=1.0)
    with daemon.running():
        eventually(lambda: (tmp_path / "feed.jsonl").stat().st_size > 0)
        shutil.move(tmp_path / "feed.jsonl", tmp_path / "moved")
        daemon.settings(jsonl=str(tmp_path / "feed.jsonl"), jsonl_max_mb=0.01, jsonl_keep=2)
        daemon.hang_up("applied: --jsonl-keep, --jsonl-max-mb")
        with Call(daemon.port, 6):
            eventually(lambda: (tmp_path / "feed.jsonl.2").exists())
    assert {file.name for file in tmp_path.iterdir()} == {
        "moved",
        *(f"feed.jsonl{n}" for n in ("", ".1", ".2")),
    }
    messages: list[AnyMessage] = []
    for name in ("moved", "feed.jsonl.2", "feed.jsonl.1", "feed.jsonl"):
        lines = (tmp_path / name).read_bytes().splitlines()
        messages += [decode(line) for line in lines]
        if name.startswith("feed"):
            assert (tmp_path / name).stat().st_size <= 10_000
    assert any(m.stream.startswith("rtp-") for m in messages)
    assert messages[-1].stream == "daemon" or getattr(messages[-1], "state", "") == "ended"


def test_a_key_that_is_put_into_the_folder_counts_at_once(daemon: Daemon) -> None:
    keys = daemon.folder / "keys"
    create(keys, "server")
    secret, public = create(daemon.folder / "mine", "laptop")
    daemon.settings(keys=str(keys))
    with daemon.running():
        shutil.copy(public, keys / "allow")
        daemon.hang_up("SIGHUP: ")
        with Subscriber(daemon.endpoint, keys=ClientKeys.load(secret, keys / "server.key")) as feed:
            assert feed.recv(PATIENCE_S) is not None


def test_systemd_hears_when_reloading_begins_and_ends(daemon: Daemon) -> None:
    daemon.settings()
    listener = Listener(f"{daemon.folder}/notify")
    with (
        listener.socket,
        daemon.running(env={"NOTIFY_SOCKET": listener.address, "WATCHDOG_USEC": "10000000"}),
    ):
        listener.until("READY")
        daemon.hang_up("SIGHUP: ")
        heard = listener.until("RELOADING")
        assert int(heard[-1]["MONOTONIC_USEC"]) > 0
        assert listener.until("READY")
        assert listener.until("WATCHDOG")


def test_the_log_goes_on_in_another_file_and_in_another_form(daemon: Daemon) -> None:
    daemon.settings()
    with daemon.running():
        daemon.settings(log_file=str(daemon.folder / "other"), log_format="json")
        daemon.log = daemon.folder / "other"
        daemon.hang_up("applied: --log-file, --log-format")
        assert json.loads(daemon.log.read_text(encoding="utf-8").splitlines()[-1])["level"] == "warning"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[loop.Daemon, Hand, Subscriber]]:
    """A daemon in this process, a source that the test writes by hand, and its feed."""
    hand, stop = Hand(seconds=20), threading.Event()
    checkpoint = Checkpoint(tiny_model(3, stages=SMALL_STAGES), {"name": "tiny"})
    served = loop.Daemon(checkpoint, [hand], Settings(ANYWHERE, max_lag_s=9))
    with Subscriber(served.endpoint) as feed:
        thread = threading.Thread(target=served.run, args=(stop, 20))
        thread.start()
        try:
            yield served, hand, feed
        finally:
            stop.set()
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


def hang_up(parts: Parts, folder: Path, **settings: object) -> None:
    """What SIGHUP does where these settings are written now, and the defaults were before."""
    journal = Log("text", folder / "log")
    try:
        Reload(Listen(), lambda: build(Listen, settings), journal)(parts)
    finally:
        journal.close()


def test_a_late_stream_skips_by_the_new_lag(
    served: tuple[loop.Daemon, Hand, Subscriber], tmp_path: Path
) -> None:
    daemon, hand, feed = served
    hand.begin("late", 0)
    hang_up(Parts(daemon, [hand]), tmp_path, max_lag=0.5)
    hand.bank.write(0, talk(5), time.monotonic())
    message = until(feed, lambda m: isinstance(m, Prediction) and m.lost_ms > 0)[-1]
    assert isinstance(message, Prediction)
    assert 4500 < message.lost_ms < 5000


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, {"old", "new"}),
        ({"record_max_days": 0.5}, {"new"}),
        ({"record_max_gb": 0.003}, {"new"}),
    ],
)
def test_recordings_go_by_the_new_limits(
    served: tuple[loop.Daemon, Hand, Subscriber], tmp_path: Path, settings: dict[str, object], kept: set[str]
) -> None:
    folder = tmp_path / "audio"
    recorder = Recorder(Retention(folder, limits(Recordings(record_min_free_gb=0))))
    for name, age_s in (("old", 86_400), ("new", 60)):
        file = folder / f"{name}.20260101T000000.000Z.flac"
        file.write_bytes(bytes(2_000_000))
        os.utime(file, (time.time() - age_s,) * 2)
    try:
        hang_up(Parts(served[0], [], recorder), tmp_path, record_min_free_gb=0.0, **settings)
        recorder.retention.tidy(())
    finally:
        recorder.close()
    assert {file.name.split(".")[0] for file in folder.iterdir()} == kept


def test_nothing_is_recorded_where_more_shall_stay_free_than_there_is(
    served: tuple[loop.Daemon, Hand, Subscriber], tmp_path: Path
) -> None:
    recorder = Recorder(Retention(tmp_path / "audio", limits(Recordings(record_min_free_gb=0))))
    try:
        hang_up(Parts(served[0], [], recorder), tmp_path, record_min_free_gb=1e6)
        recorder.retention.tidy(())
        assert "1e+06 GB shall stay free" in recorder.retention.why
    finally:
        recorder.close()


def test_a_store_keeps_what_the_settings_say_anew(
    served: tuple[loop.Daemon, Hand, Subscriber], tmp_path: Path
) -> None:
    keep = Keep(calls_s=1.0, pieces_s=1.0, min_free_bytes=1)
    with Writer(url_of(str(tmp_path / "calls.db")), "r1", keep) as store:
        days = {"store_max_days": 3.0, "store_max_detail_days": 2.0, "store_min_free_gb": 0.5}
        hang_up(Parts(served[0], [], store=store), tmp_path, **days)
        assert store.keep == Keep(3 * 86_400.0, 2 * 86_400.0, 500_000_000)


OBEYED = {
    "allow": test_names_senders_and_log_are_taken_and_the_rest_is_named,
    "name_map": test_names_senders_and_log_are_taken_and_the_rest_is_named,
    "idle": test_names_senders_and_log_are_taken_and_the_rest_is_named,
    "every": test_answers_come_as_often_as_the_settings_say_anew,
    "max_lag": test_a_late_stream_skips_by_the_new_lag,
    "log_level": test_names_senders_and_log_are_taken_and_the_rest_is_named,
    "log_file": test_the_log_goes_on_in_another_file_and_in_another_form,
    "log_format": test_the_log_goes_on_in_another_file_and_in_another_form,
    "jsonl_max_mb": test_the_feed_goes_to_a_file_that_may_be_moved_away,
    "jsonl_keep": test_the_feed_goes_to_a_file_that_may_be_moved_away,
    "store_max_days": test_a_store_keeps_what_the_settings_say_anew,
    "store_max_detail_days": test_a_store_keeps_what_the_settings_say_anew,
    "store_min_free_gb": test_a_store_keeps_what_the_settings_say_anew,
    "record_max_gb": test_recordings_go_by_the_new_limits,
    "record_max_days": test_recordings_go_by_the_new_limits,
    "record_min_free_gb": test_nothing_is_recorded_where_more_shall_stay_free_than_there_is,
}
"""For each setting that SIGHUP changes, the test that shows a running daemon, or what it is made of, obeying it."""


def test_each_setting_that_the_tree_lets_change_is_shown_to_change() -> None:
    assert OBEYED.keys() == {one.name for one in settings_of(Listen).values() if one.reload}
