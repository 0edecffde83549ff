"""The store: calls in SQLite and in a real PostgreSQL, written as they go, read back, forgotten and erased."""

import sqlite3
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from called import NOON, Line, files, one_call
from postgres import Cluster, cluster
from small_disk import mounted

from streamcab.calls import Tally
from streamcab.errors import ConfigError, StoreError
from streamcab.store import upkeep
from streamcab.store.database import connect, hidden, migrate, url_of
from streamcab.store.read import After, Filter, Reader
from streamcab.store.schema import metadata
from streamcab.store.writer import Keep, Writer

KEEP = Keep(calls_s=1e9, pieces_s=1e9, min_free_bytes=0)
DAY_S = 86_400.0


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with cluster() as started:
        yield started


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store."""
    if request.param == "sqlite":
        return str(tmp_path / "calls.db")
    url = request.getfixturevalue("server").url
    engine = connect(url_of(url), write=True)
    with engine.begin() as connection:
        metadata.drop_all(connection)
        connection.exec_driver_sql("DROP TABLE IF EXISTS alembic_version")
    engine.dispose()
    return str(url)


@contextmanager
def writing(where: str, run: str = "r1", keep: Keep = KEEP) -> Iterator[Tally]:
    with Writer(url_of(where), run, keep) as writer:
        yield Tally(writer)
    assert writer.counters() == {}


def test_what_was_told_is_read_back(where: str) -> None:
    with writing(where) as tally:
        one_call(tally, "alice", NOON + 3, 25)
        one_call(tally, "bob", NOON + 100, 5, top=None)
    with Reader(where) as store:
        bob, alice = store.calls()
        assert (alice.name, alice.began, alice.ended, alice.state) == ("alice", NOON + 3, NOON + 28, "ended")
        assert (alice.speech_s, alice.audio_s, alice.top, alice.confidence) == (12.5, 25.0, "uk", 0.75)
        assert (alice.probs, alice.flaws, alice.model) == ({"uk": 0.75, "us": 0.25}, [], "5f0c")
        assert (bob.name, bob.top, bob.probs) == ("bob", None, {})
        assert store.models()["5f0c"].labels == ["us", "uk"]
        found = store.pieces(alice)
        assert [piece.n - int(NOON / 10) for piece in found] == [0, 1, 2]
        assert sum(piece.speech_s for piece in found) == pytest.approx(12.5)
        assert found[1].probs == [0.25, 0.75]
        assert store.call(alice.id) == alice
        assert store.call(1) is None
        assert alice.id < 2**53, "JavaScript holds it"


def test_a_store_of_an_older_version_is_read_as_it_is_until_it_is_written(where: str) -> None:
    with writing(where) as tally:
        one_call(tally, "alice", NOON, 20)
    engine = connect(url_of(where), write=True)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE pieces DROP COLUMN voice")
        connection.exec_driver_sql("ALTER TABLE calls DROP COLUMN other")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    engine.dispose()
    with Reader(where) as store:
        (alice,) = store.calls()
        assert [piece.voice for piece in store.pieces(alice)] == [1, 1]
        assert alice.other is None
        assert store.call(alice.id) == alice
    with writing(where, "r2") as tally:
        one_call(tally, "bob", NOON + 100, 20, voice=2, other=0.25)
    with Reader(where) as store:
        assert {call.name: call.other for call in store.calls()} == {"alice": None, "bob": 0.25}
        voices = {call.name: [piece.voice for piece in store.pieces(call)] for call in store.calls()}
        assert voices == {"alice": [1, 1], "bob": [2, 2]}


def test_filters_find_what_they_name(where: str) -> None:
    with writing(where) as tally:
        for n, (name, top) in enumerate([("alice", "uk"), ("alice-2", "us"), ("a_b", None), ("bob%", "us")]):
            one_call(tally, name, NOON + n * DAY_S, 4, top=top)
        Line(tally, "open", NOON + 9 * DAY_S).talk(20)
    with Reader(where) as store:

        def names(**which: object) -> list[str]:
            return [call.name for call in store.calls(Filter(**which), oldest=True)]  # type: ignore[arg-type]

        assert names(top="us") == ["alice-2", "bob%"]
        assert names(top="") == ["a_b"]
        assert names(name="alice") == ["alice"]
        assert names(name="alice*") == ["alice", "alice-2"]
        assert names(name="a?b*") == ["a_b"]
        assert names(name="b*%") == ["bob%"]
        assert names(source="BOB%.WAV") == ["bob%"]
        assert names(since=NOON + 1, until=NOON + 3 * DAY_S) == ["alice-2", "a_b"]
        assert names(state="open") == ["open"]
        assert names(least_speech_s=5.0) == ["open"]
        assert store.count(Filter(top="us")) == 2
        assert [(t.value, t.calls) for t in store.accents()] == [("uk", 2), ("us", 2), (None, 1)]
        assert [(t.value, t.calls) for t in store.sources()] == [("file", 5)]


def test_calls_are_found_by_who_called_and_by_the_id_of_the_platform(where: str) -> None:
    with writing(where) as tally:
        line = Line(tally, "MZ-1-inbound")
        line.talk(2)
        line.hang_up(call={"platform": "twilio", "call": "CA9", "from": "s-aa", "to": "s-bb"})
        one_call(tally, "s-aa", NOON + 100, 2)
    with Reader(where) as store:
        for party in ("s-aa", "s-bb"):
            assert [call.name for call in store.calls(Filter(party=party))] == ["MZ-1-inbound"]
        assert store.calls(Filter(party="s-cc")) == []
        assert [call.name for call in store.calls(Filter(name="CA9"))] == ["MZ-1-inbound"]
        assert store.calls(Filter(party="s-aa"))[0].labels["platform"] == "twilio"


def test_pages_hold_every_call_once(where: str) -> None:
    with writing(where) as tally:
        for n in range(25):
            one_call(tally, f"call-{n}", NOON + n // 3, 1)
    with Reader(where) as store:
        seen, after = [], None
        while page := store.calls(limit=4, after=after):
            seen += page
            after = After.call(page[-1])
        assert len({call.id for call in seen}) == len(seen) == 25
        assert [call.began for call in seen] == sorted((call.began for call in seen), reverse=True)
        assert [call.id for call in store.every()] == [call.id for call in reversed(seen)]


def test_days_are_those_of_the_zone(where: str) -> None:
    midnight = 1_793_505_600.0  # 2026-11-01 04:00 UTC: midnight in New York, on a day of 25 hours
    with writing(where) as tally:
        for hours in (-1, 0, 24.5, 25):
            one_call(tally, f"call{hours}", midnight + hours * 3600, 2)
    with Reader(where) as store:
        zone = ZoneInfo("America/New_York")
        counted = [((c.at - midnight) / 3600, c.calls, c.speech_s) for c in store.days(zone=zone)]
        assert counted == [(-24, 1, 1.0), (0, 2, 2.0), (25, 1, 1.0)]
        assert [c.calls for c in store.days(zone=UTC)] == [2, 2]
        hours = [((c.at - midnight) / 3600, c.calls) for c in store.hours(zone=ZoneInfo("Asia/Kolkata"))]
        assert hours == [(-1.5, 1), (-0.5, 1), (24.5, 2)]


def test_calls_of_a_daemon_that_died_are_closed_at_the_next_start(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with writing(where, "r1") as tally:
        Line(tally, "alice").talk(60)
    with writing(where, "r2"), Reader(where) as store:
        assert [call.state for call in store.calls()] == ["open"], "its process lives"
    monkeypatch.setattr(upkeep, "_ticks", lambda pid: 1)
    with writing(where, "r3") as tally:
        one_call(tally, "bob", NOON + 100)
    with Reader(where) as store:
        bob, alice = store.calls()
        assert (alice.state, alice.ended) == ("interrupted", alice.seen)
        assert NOON + 55 <= alice.seen <= NOON + 60
        assert (bob.state, bob.run) == ("ended", 3)


def test_a_run_of_another_machine_is_over_when_it_is_silent(where: str) -> None:
    with writing(where, "r1") as tally:
        Line(tally, "alice").talk(60)
    engine = connect(url_of(where), write=True)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE runs SET host = 'elsewhere'")
    now = time.time()
    assert upkeep.close_interrupted(engine, 99, now) == 0
    assert upkeep.close_interrupted(engine, 99, now + 1_000) == 1
    engine.dispose()


def test_what_is_too_old_goes_pieces_first(where: str) -> None:
    with writing(where) as tally:
        one_call(tally, "old", NOON, 30)
        one_call(tally, "new", NOON + 5 * DAY_S, 30)
        Line(tally, "open", NOON).talk(20)
    engine = connect(url_of(where), write=True)
    now = NOON + 6 * DAY_S
    upkeep.forget(engine, now, calls_s=30 * DAY_S, pieces_s=2 * DAY_S)
    with Reader(where) as store:
        named = {call.name: len(store.pieces(call)) for call in store.calls()}
        assert named == {"old": 0, "new": 3, "open": 0}
    upkeep.forget(engine, now, calls_s=2 * DAY_S, pieces_s=2 * DAY_S)
    engine.dispose()
    with Reader(where) as store:
        assert {call.name for call in store.calls()} == {"new", "open"}


def test_who_is_erased_leaves_nothing_in_any_file(tmp_path: Path) -> None:
    where = str(tmp_path / "calls.db")
    with writing(where) as tally:
        one_call(tally, "a-secret-name", NOON, 120)
        one_call(tally, "bob", NOON, 120)
    with sqlite3.connect(where) as kept:  # the log of writes is there for as long as somebody has it open
        kept.execute("SELECT 1 FROM calls").fetchall()
        assert any(b"a-secret-name" in found for found in files(tmp_path))
        engine = connect(url_of(where), write=True)
        with Reader(where) as store:
            (alice,) = store.calls(Filter(name="a-secret-name"))
            assert upkeep.erase(engine, [alice.id]) == 1
            assert store.pieces(alice) == []
            assert [len(store.pieces(call)) for call in store.calls()] == [12]
        engine.dispose()
        assert not any(b"a-secret-name" in found for found in files(tmp_path))
    kept.close()


def test_erasing_leaves_the_others_alone(where: str) -> None:
    with writing(where) as tally:
        for name in ("alice", "bob"):
            one_call(tally, name, NOON, 40)
    engine = connect(url_of(where), write=True)
    with Reader(where) as store:
        (alice,) = store.calls(Filter(name="alice"))
        assert upkeep.erase(engine, [alice.id, 12345]) == 1
        assert [call.name for call in store.calls()] == ["bob"]
        assert len(store.pieces(store.calls()[0])) == 4
        assert store.pieces(alice) == []
    engine.dispose()


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    where = tmp_path / "new" / "calls.db"
    with writing(str(where)) as tally:
        one_call(tally, "alice")
        for path in where.parent.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_store_of_a_newer_streamcab_is_refused_in_words(where: str) -> None:
    engine = connect(url_of(where), write=True)
    migrate(engine)
    migrate(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    with pytest.raises(StoreError, match="newer streamcab"):
        Writer(url_of(where), "r1", KEEP)


def test_the_migrations_make_what_the_schema_says(where: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    engine = connect(url_of(where), write=True)
    migrate(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mysql://a/b", "not mysql"),
        ("sqlite://", "names no file"),
        ("postgresql://me:pw@host:x/y", "is no URL"),
    ],
)
def test_what_is_no_database_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        url_of(text)


def test_a_password_is_not_shown() -> None:
    assert "secret" not in hidden(url_of("postgresql://me:secret@db/calls"))
    assert url_of("postgres://me@db/calls").drivername == "postgresql+psycopg"


def test_what_cannot_be_used_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database, but long enough to be looked at" * 100, encoding="utf-8")
    with pytest.raises(StoreError, match="not a database"):
        Writer(url_of(str(tmp_path / "text")), "r1", KEEP)
    with pytest.raises(StoreError, match="cannot write the store"):
        Writer(url_of(str(tmp_path)), "r1", KEEP)
    with pytest.raises(StoreError, match="there is no store"):
        Reader(str(tmp_path / "nothing.db"))
    (tmp_path / "empty.db").touch()
    with pytest.raises(StoreError, match="no table of calls"):
        Reader(str(tmp_path / "empty.db"))
    with pytest.raises(StoreError, match="is a folder"):
        Reader(str(tmp_path))


def test_a_damaged_store_says_what_can_be_done(tmp_path: Path) -> None:
    where = tmp_path / "calls.db"
    with Writer(url_of(str(where)), "r1", KEEP) as writer:
        one_call(Tally(writer), "alice")
    whole = where.read_bytes()
    where.write_bytes(whole[:4096] + bytes(len(whole) - 4096))
    for use in (Reader, lambda path: Writer(url_of(path), "r2", KEEP)):
        with pytest.raises(StoreError, match=r"malformed; move the file away .*sqlite3 FILE \.recover"):
            use(str(where))


def test_a_store_on_a_read_only_disk_is_read(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", 4096) as disk:
        where = disk / "calls %41?.db"
        with Writer(url_of(str(where)), "r1", KEEP) as writer:
            one_call(Tally(writer), "alice")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with Reader(str(where)) as store:
            assert [call.name for call in store.calls()] == ["alice"]
