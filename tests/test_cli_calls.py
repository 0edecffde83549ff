"""`streamcab calls` and `listen --store` as users run them: commands, a real daemon, and one that is killed."""

import csv
import io
import json
import signal
from pathlib import Path

import numpy as np
import pytest
from called import NOON, Line, one_call
from patience import until
from receiver import Receiver
from serving import ANYWHERE, here, run, running, save_model
from signals import write_wav
from speech import SMALL_STAGES, talk, tiny_model

from streamcab.calls import Tally
from streamcab.errors import StoreError
from streamcab.nn.checkpoint import Checkpoint
from streamcab.ops.pseudonyms import Pseudonyms
from streamcab.store.database import url_of
from streamcab.store.read import Filter, Reader
from streamcab.store.writer import Keep, Writer

UTC = ("--zone", "UTC")


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Three calls, on two days: one open, one under a formula's name."""
    where = str(tmp_path / "calls.db")
    with Writer(url_of(where), "r1", Keep(1e9, 1e9, 0)) as writer:
        tally = Tally(writer)
        line = Line(tally, "alice", NOON)
        line.talk(12)
        line.talk(13, voice=2)
        line.hang_up()
        one_call(tally, "alice-2", NOON + 86_400, 10, top=None)
        Line(tally, "bob", NOON + 90_000, top="us").talk(20)
    return where


def said(*words: str) -> str:
    done = here("calls", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def test_calls_are_listed_the_newest_first(store: str) -> None:
    lines = said("list", "--store", store, *UTC).splitlines()
    assert [line.split()[-1] for line in lines] == ["open", "-", "75%"]
    assert "2027-01-15 08:00:00" in lines[2]
    (line,) = said("list", "--store", store, "--day", "2027-01-15", *UTC).splitlines()
    assert "alice" in line
    assert "2 of 3 calls" in said("list", "--store", store, "--limit", "2").splitlines()[-1]
    found = [
        json.loads(line) for line in said("list", "--store", store, "--accent", "us", "--json").splitlines()
    ]
    assert [call["name"] for call in found] == ["bob"]


def test_one_call_is_shown_with_its_course(store: str) -> None:
    with Reader(store) as reader:
        (alice,) = reader.calls(Filter(name="alice"))
    text = said("show", str(alice.id), "--store", store, *UTC)
    assert "2027-01-15 08:00:25" in text
    assert "uk 0.750" in text
    assert text.count("us 0.25") == 4, "the answer, and three pieces"
    assert [word in text for word in ("voice 1  us", "voice 2  us", "voice 3")] == [True, True, False]
    done = here("calls", "show", "1", "--store", store)
    assert (done.returncode, b"there is no call 1" in done.stderr) == (1, True)


@pytest.mark.parametrize("pieces", [False, True])
def test_exports_hold_the_same_in_each_format(store: str, tmp_path: Path, pieces: bool) -> None:
    more = ["--pieces"] if pieces else []
    rows = [
        json.loads(line) for line in said("export", "--store", store, "--format", "jsonl", *more).splitlines()
    ]
    assert len(rows) == (6 if pieces else 3)
    table = list(csv.DictReader(io.StringIO(said("export", "--store", store, *more))))
    assert [row["name"] for row in table] == [row["name"] for row in rows]
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "calls.parquet"
    said("export", "--store", store, "--out", str(out), *more)
    read = parquet.read_table(out).to_pylist()
    assert [dict(row["probs"]) for row in read] == [row["probs"] for row in rows]
    if pieces:
        assert [row["voice"] for row in read] == [row["voice"] for row in rows] == [1, 2, 2, 1, 1, 1]
        assert [int(row["voice"]) for row in table] == [row["voice"] for row in rows]
    key = "time" if pieces else "began"
    assert min(row[key] for row in read).timestamp() == NOON


def test_a_cell_that_a_spreadsheet_would_compute_is_text() -> None:
    from streamcab.store.export import as_csv

    out = io.BytesIO()
    as_csv([{"name": "=1+1", "detail": "-x", "lost_ms": -1.0}], out, None)
    assert out.getvalue().decode().splitlines()[1] == "'=1+1,'-x,-1.0"


def test_a_person_is_deleted_by_name_and_by_pseudonym(store: str, tmp_path: Path) -> None:
    salt = tmp_path / "salt"
    salt.write_text("0123456789abcdef0123456789abcdef", encoding="utf-8")
    with Writer(url_of(store), "r2", Keep(1e9, 1e9, 0)) as writer:
        pseudonym = Pseudonyms.load(salt).name("alice")
        tally = Tally(writer)
        one_call(tally, pseudonym)
        line = Line(tally, "MZ-1")
        line.talk(2)
        line.hang_up(call={"platform": "twilio", "from": pseudonym})
        for track in ("inbound", "outbound"):
            one_call(tally, Pseudonyms.load(salt).name(f"CA-1-{track}"))
    done = here("calls", "delete", "alice", "--store", store)
    assert done.returncode == 1, "nobody said yes"
    assert "2 calls of s-" in said("delete", "CA-1", "--store", store, "--hash-salt", str(salt), "--yes")
    text = said("delete", "alice", "--store", store, "--hash-salt", str(salt), "--yes")
    assert "3 calls of MZ-1, alice, s-" in text
    assert "somebody else's: alice-2" in text
    with Reader(store) as reader:
        assert {call.name for call in reader.calls()} == {"alice-2", "bob"}
    assert "go on" in said("delete", "b*", "--store", store, "--yes")
    done = here("calls", "delete", "alice", "--store", store, "--yes")
    assert (done.returncode, b"no call of alice" in done.stderr) == (1, True)


def test_a_number_that_was_hidden_here_is_found_and_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, number = str(tmp_path / "calls.db"), "+12025550100"
    for name in ("HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    with Writer(url_of(where), "r1", Keep(1e9, 1e9, 0)):
        pass
    done = here("calls", "delete", number, "--store", where, "--yes")
    assert (done.returncode, b"--hash-salt" in done.stderr) == (1, True)
    assert Pseudonyms.of_this_installation() is None, "no salt is made by looking"
    hidden = Pseudonyms.load(None).name(number)
    with Writer(url_of(where), "r2", Keep(1e9, 1e9, 0)) as writer:
        tally = Tally(writer)
        for name, told in (("CA-1", {"from": hidden}), ("CA-2", {"to": "s-0"})):
            line = Line(tally, name)
            line.talk(2)
            line.hang_up(call={"platform": "twilio", **told})
    for party in (number, hidden):
        (line_of,) = said("list", "--store", where, "--party", party).splitlines()
        assert "CA-1" in line_of
    assert "1 call of CA-1" in said("delete", number, "--store", where, "--yes")


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (("--day", "yesterday"), b"is no day"),
        (("--since", "soon"), b"is no time"),
        (("--zone", "Mars/Base"), b"is no time zone"),
        (("--day", "2027-01-15", "--since", "7d"), b"is a whole day"),
        (("--since", "2027-01-16", "--until", "2027-01-15"), b"is not after --since"),
    ],
)
def test_what_is_no_time_is_said(store: str, words: tuple[str, ...], wrong: bytes) -> None:
    done = here("calls", "list", "--store", store, *words)
    assert done.returncode == 2
    assert wrong in done.stderr


def test_an_answer_that_no_call_has_is_said_with_those_that_are_there(store: str) -> None:
    done = here("calls", "list", "--store", store, "--accent", "frensh")
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.decode().strip() == "no call matches; the answers here: -, uk, us"
    assert (
        b"answers" not in here("calls", "list", "--store", store, "--accent", "us", "--state", "ended").stderr
    )


def test_a_platform_cannot_speak_for_the_answer(tmp_path: Path) -> None:
    where = str(tmp_path / "calls.db")
    with Writer(url_of(where), "r1", Keep(1e9, 1e9, 0)) as writer:
        line = Line(Tally(writer), "CA-1-inbound", NOON)
        line.talk(12)
        line.hang_up(call={"platform": "twilio", "call": "CA-1", "answer": "nobody 99%", "began": "never"})
    with Reader(where) as reader:
        (call,) = reader.calls()
    lines = said("show", str(call.id), "--store", where, *UTC).splitlines()
    assert lines[0].split() == ["call", str(call.id), "CA-1-inbound"]
    assert "answer          uk 75%" in lines
    assert "platform says   platform: twilio" in lines
    assert "                answer: nobody 99%" in lines


def test_what_is_not_sure_says_so_and_long_names_stay_in_their_column(tmp_path: Path) -> None:
    where, ids = str(tmp_path / "calls.db"), ("CA" + "0" * 32 + "-outbound", "v2:" + "T" * 54 + "-inbound")
    with Writer(url_of(where), "r1", Keep(1e9, 1e9, 0)) as writer:
        tally = Tally(writer)
        for name, sure in zip(ids, (False, True), strict=True):
            line = Line(tally, name, NOON)
            line.talk(12, sure=sure)
            line.hang_up()
    lines = said("list", "--store", where, *UTC).splitlines()
    assert (len(lines), len({line.index("uk 75%") for line in lines})) == (2, 1)
    assert ["not sure" in line for line in lines] == [ids[0] in line for line in lines]


@pytest.mark.parametrize("name", ["calls.xlsx", "calls.json"])
def test_a_file_of_another_format_is_not_filled_with_csv(store: str, tmp_path: Path, name: str) -> None:
    done = here("calls", "export", "--store", store, "--out", tmp_path / name)
    assert (done.returncode, b"csv, jsonl, parquet" in done.stderr) == (2, True)
    assert not (tmp_path / name).exists()
    said("export", "--store", store, "--out", str(tmp_path / name), "--format", "csv")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calls")
    save_model(Checkpoint(tiny_model(3, stages=SMALL_STAGES), {"name": "tiny"}), folder)
    write_wav(folder / "talk.wav", talk(12).astype(np.float32), 8000)
    return folder


def listen(folder: Path, where: str, *words: str) -> list[str]:
    model = ("--model", str(folder / "model.safetensors"), "--file", str(folder / "talk.wav"))
    return ["listen", *model, "--store", where, "--store-min-free-gb", "0", "--endpoint", ANYWHERE, *words]


def test_a_daemon_keeps_what_it_hears(folder: Path, tmp_path: Path) -> None:
    where = str(tmp_path / "calls.db")
    done = run(*listen(folder, where, "--fast", "--quiet"))
    assert done.returncode == 0, done.stderr
    with Reader(where) as store:
        (call,) = store.calls()
        assert (call.name, call.state, call.audio_s) == ("talk", "ended", 12.0)
        assert call.top in call.probs
        assert sum(piece.audio_s for piece in store.pieces(call)) == pytest.approx(12, abs=0.1)


def test_a_daemon_that_is_killed_leaves_its_calls_and_the_next_one_closes_them(
    folder: Path, tmp_path: Path
) -> None:
    where = str(tmp_path / "calls.db")

    def seen() -> float:
        try:
            with Reader(where) as store:
                return max((call.seen - call.began for call in store.calls()), default=0.0)
        except StoreError:
            return 0.0

    with running(*listen(folder, where, "--loop", "--quiet")) as process:
        until(lambda: seen() > 6)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = run(*listen(folder, where, "--fast", "--quiet"))
    assert done.returncode == 0
    assert b"1 call was cut short" in done.stderr
    with Reader(where) as store:
        new, old = store.calls()
        assert (old.state, new.state) == ("interrupted", "ended")
        assert old.seen - old.began > 6
        assert store.pieces(old)


def test_a_store_that_cannot_be_is_said_before_anything_is_heard(folder: Path, tmp_path: Path) -> None:
    done = run(*listen(folder, str(tmp_path), "--fast", "--quiet"))
    assert done.returncode == 1
    assert b"cannot write the store" in done.stderr
    done = run(*listen(folder, "mysql://a/b", "--fast", "--quiet"))
    assert done.returncode == 2


def test_a_daemon_sends_the_calls_that_end(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a secret of at least 24 bytes", encoding="utf-8")
    store, queue = str(tmp_path / "calls.db"), ("--sink-queue", str(tmp_path / "q" / "sinks.db"))
    with Receiver() as receiver:
        hook = ("--webhook", receiver.url, "--webhook-secret", str(secret), *queue)
        done = run(*listen(folder, store, "--fast", "--quiet", *hook))
        assert done.returncode == 0, done.stderr
        ((_, body),) = receiver.got
    event = json.loads(body)
    assert (event["type"], event["call"]["name"]) == ("call.ended", "talk")
    with Reader(store) as kept:
        assert kept.calls()[0].top == event["call"]["top"]
    assert (tmp_path / "q" / "sinks.db").stat().st_mode & 0o777 == 0o600


def test_a_webhook_wants_a_secret(folder: Path, tmp_path: Path) -> None:
    words = listen(
        folder, str(tmp_path / "calls.db"), "--fast", "--quiet", "--webhook", "http://localhost:1/"
    )
    done = run(*words)
    assert (done.returncode, b"--webhook-secret" in done.stderr) == (2, True)
