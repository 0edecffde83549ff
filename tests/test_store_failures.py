"""A store whose database is full, locked, moved or gone: rows wait, are dropped in the end, and counted."""

import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from called import NOON, Line, one_call
from patience import PATIENCE_S, until
from postgres import Cluster, cluster
from small_disk import fill, mounted

from streamcab.calls import Tally
from streamcab.store import database, writer
from streamcab.store.database import url_of
from streamcab.store.read import Reader
from streamcab.store.writer import Keep, Writer

KEEP = Keep(calls_s=1e9, pieces_s=1e9, min_free_bytes=0)


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with cluster() as started:
        yield started


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "FLUSH_S", 0.05)
    monkeypatch.setattr(writer, "RETRY_S", 0.05)
    monkeypatch.setattr(writer, "LONGEST_RETRY_S", 0.2)


def names(where: str) -> set[str]:
    with Reader(where) as store:
        return {call.name for call in store.calls()}


def test_postgresql_crashes_under_load_and_no_call_is_lost(
    server: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    with Writer(url_of(server.url), "r1", KEEP) as written:
        tally = Tally(written)
        lines = [Line(tally, f"call-{n}") for n in range(20)]
        for turn in range(30):
            if turn == 10:
                server.crash()
            if turn == 20:
                until(lambda: written.counters())
                assert list(written.counters()) == ["store-waiting"]
                server.start()
            for line in lines:
                line.talk(2)
        for line in lines:
            line.hang_up()
        until(lambda: not written.counters())
    with Reader(server.url) as store:
        found = store.calls()
        assert {call.state for call in found} == {"ended"}
        assert len(found) == 20
        assert [len(store.pieces(call)) for call in found] == [6] * 20
    said = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len([text for text in said if "cannot be written" in text]) == 1
    assert len([text for text in said if "written again" in text]) == 1


def test_a_database_that_is_not_there_at_the_start_is_waited_for(server: Cluster) -> None:
    server.crash()
    with Writer(url_of(server.url), "late", KEEP) as written:
        one_call(Tally(written), "early-bird")
        until(lambda: written.counters())
        server.start()
        until(lambda: not written.counters())
    assert "early-bird" in names(server.url)


def test_a_full_disk_costs_rows_and_is_left_when_there_is_room(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", 2_000) as disk:
        where = str(disk / "calls.db")
        with Writer(url_of(where), "r1", KEEP) as written:
            tally = Tally(written)
            one_call(tally, "before")
            until(lambda: written.written)
            fill(disk / "filler")
            until(lambda: one_call(tally, "during", NOON, 120) or written.counters())
            (disk / "filler").unlink()
            one_call(tally, "after")
            until(lambda: not written.counters())
        assert names(where) == {"before", "during", "after"}
        with sqlite3.connect(where) as raw:
            assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        raw.close()


def test_nothing_is_written_below_the_reserve(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    where = str(tmp_path / "calls.db")
    with Writer(url_of(where), "r1", Keep(1e9, 1e9, min_free_bytes=1 << 60)) as written:
        one_call(Tally(written), "alice")
        until(lambda: written.counters())
        assert "shall stay free" in caplog.text
        written.keep = KEEP
        until(lambda: not written.counters())
    assert names(where) == {"alice"}


def test_what_waits_is_bounded_and_what_is_dropped_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MOST_CALLS", 5)
    monkeypatch.setattr(writer, "MOST_PIECES", 10)
    where = str(tmp_path / "calls.db")
    with Writer(url_of(where), "r1", Keep(1e9, 1e9, min_free_bytes=1 << 60)) as written:
        tally = Tally(written)
        for n in range(20):
            one_call(tally, f"call-{n}", NOON + n, 10)
        until(lambda: written.counters().get("store-dropped", 0) >= 15)
        until(lambda: "store-waiting" in written.counters())
        assert written.counters()["store-waiting"] <= 15
        written.keep = KEEP
        until(lambda: "store-waiting" not in written.counters())
    assert names(where) == {f"call-{n}" for n in range(15, 20)}


def test_a_thread_that_stands_costs_rows_and_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "QUEUE", 3)
    monkeypatch.setattr(writer, "FLUSH_S", PATIENCE_S)
    with Writer(url_of(str(tmp_path / "calls.db")), "r1", KEEP) as written:
        tally = Tally(written)
        for n in range(20):
            one_call(tally, f"call-{n}")
        assert written.counters()["store-dropped"] > 0


def test_another_writer_that_holds_the_lock_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    where = str(tmp_path / "calls.db")
    with Writer(url_of(where), "r1", KEEP) as written:
        other = sqlite3.connect(where, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        one_call(Tally(written), "alice")
        until(lambda: written.counters())
        other.execute("ROLLBACK")
        other.close()
        until(lambda: not written.counters())
    assert names(where) == {"alice"}


def test_two_daemons_share_a_file(tmp_path: Path) -> None:
    where = str(tmp_path / "calls.db")
    with Writer(url_of(where), "r1", KEEP) as one, Writer(url_of(where), "r2", KEEP) as two:
        first, second = Tally(one), Tally(two)
        for n in range(50):
            one_call(first, f"one-{n}")
            one_call(second, f"two-{n}")
    assert len(names(where)) == 100


def test_a_file_that_is_moved_away_is_begun_anew(tmp_path: Path) -> None:
    where = str(tmp_path / "calls.db")
    with Writer(url_of(where), "r1", KEEP) as written:
        tally = Tally(written)
        line = Line(tally, "alice")
        line.talk(10)
        until(lambda: written.written)
        for path in list(tmp_path.iterdir()):
            path.rename(path.with_name(path.name.replace("calls", "old")))
        before = written.written
        line.talk(10)
        until(lambda: written.written > before)
    assert names(str(tmp_path / "old.db")) == {"alice"}
    with Reader(where) as store:
        assert list(store.models()) == ["5f0c"], "what is known once is written to each"
