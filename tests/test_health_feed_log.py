"""`streamcab log`: files of whole lines that rotate, whatever the disk and the other programs do."""

import os
import signal
from pathlib import Path

import pytest
from feeding import status
from health_feed import Speaker, command, daemon, model, prediction, run, running
from patience import until
from small_disk import biggest_file

from streamcab.errors import StreamcabError
from streamcab.health.feed_log import Thinning
from streamcab.health.jsonl import JsonLinesFile
from streamcab.message import AnyMessage, DaemonStatus, Prediction, Status, decode


def numbered(first: int, last: int) -> list[bytes]:
    return [f"{n:09d}".encode() for n in range(first, last)]  # ten bytes each, with the line's end


def contents(folder: Path) -> dict[str, list[int]]:
    """The numbers in each file."""
    return {file.name: [int(line) for line in file.read_bytes().split()] for file in sorted(folder.iterdir())}


def test_full_files_make_room_and_the_oldest_goes(tmp_path: Path) -> None:
    lines = JsonLinesFile(tmp_path / "f", 40, keep=2)
    assert lines.write(numbered(0, 13)) == ""
    lines.close()
    assert contents(tmp_path) == {"f": [12], "f.1": [8, 9, 10, 11], "f.2": [4, 5, 6, 7]}
    assert lines.written == 13


@pytest.mark.parametrize("keep", [0, 1, 5])
def test_any_number_is_kept_and_no_file_is_longer_than_told(tmp_path: Path, keep: int) -> None:
    lines = JsonLinesFile(tmp_path / "f", 95, keep)
    for n in range(0, 100, 7):
        lines.write(numbered(n, n + 7))
    lines.close()
    found = contents(tmp_path)
    assert len(found) == keep + 1
    assert all(file.stat().st_size <= 95 for file in tmp_path.iterdir())
    told = [n for name in sorted(found, reverse=True) for n in found[name]]
    assert told == list(range(told[0], 105)), "nothing between the oldest and the newest is missing"


def test_a_line_longer_than_a_file_gets_one_of_its_own(tmp_path: Path) -> None:
    lines = JsonLinesFile(tmp_path / "f", 15, keep=3)
    lines.write([b"1", b"2" * 100, b"3"])
    lines.close()
    assert [len((tmp_path / name).read_bytes()) for name in ("f", "f.1", "f.2")] == [2, 101, 2]


def test_the_file_goes_on_after_a_restart_and_a_torn_line_is_closed(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"000000001\n00000")
    lines = JsonLinesFile(tmp_path / "f", 1_000, keep=1)
    lines.write(numbered(2, 3))
    lines.close()
    assert (tmp_path / "f").read_bytes() == b"000000001\n00000\n000000002\n"


def test_a_full_disk_costs_lines_but_no_line_is_torn_and_it_goes_on_by_itself(tmp_path: Path) -> None:
    lines = JsonLinesFile(tmp_path / "f", 1_000, keep=1)
    with biggest_file(45):
        assert lines.write(numbered(0, 2)) == ""
        assert lines.write(numbered(2, 6)) == (
            f"cannot write {tmp_path / 'f'}: File too large; lines dropped so far: 4"
        )
    assert lines.dropped == 4
    assert lines.write(numbered(6, 7)) == ""
    lines.close()
    assert contents(tmp_path) == {"f": [0, 1, 6]}


def test_two_writers_of_one_file_are_refused(tmp_path: Path) -> None:
    lines = JsonLinesFile(tmp_path / "f", 1_000, keep=1)
    with pytest.raises(StreamcabError, match="another streamcab writes it"):
        JsonLinesFile(tmp_path / "f", 1_000, keep=1)
    lines.close()
    JsonLinesFile(tmp_path / "f", 1_000, keep=1).close()
    with pytest.raises(StreamcabError, match="No such file or directory"):
        JsonLinesFile(tmp_path / "none" / "f", 1_000, keep=1)


def test_a_folder_that_vanishes_is_told_and_not_raised(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    lines = JsonLinesFile(folder / "f", 40, keep=1)
    lines.write(numbered(0, 4))
    (folder / "f").rename(tmp_path / "elsewhere")
    folder.rmdir()
    assert "No such file" in lines.write(numbered(4, 5))
    assert lines.failing
    folder.mkdir()
    assert lines.write(numbered(5, 6)) == ""
    assert not lines.failing
    lines.close()
    assert contents(folder) == {"f": [5]}


def test_a_file_that_is_removed_or_moved_away_is_begun_anew_with_the_next_line(tmp_path: Path) -> None:
    lines = JsonLinesFile(tmp_path / "f", 1_000, keep=1)
    lines.write(numbered(0, 1))
    (tmp_path / "f").unlink()
    assert lines.write(numbered(1, 2)) == f"{tmp_path / 'f'} was removed; a new file is created"
    (tmp_path / "f").rename(tmp_path / "moved")
    assert lines.write(numbered(2, 3)) == ""
    lines.close()
    assert contents(tmp_path) == {"f": [2], "moved": [1]}
    assert lines.counters() == {}


def test_strangers_may_not_read(tmp_path: Path) -> None:
    JsonLinesFile(tmp_path / "f", 40, keep=1).close()
    assert (tmp_path / "f").stat().st_mode & 0o007 == 0


def test_the_command_writes_what_was_on_the_wire_and_opens_anew_on_sighup(tmp_path: Path) -> None:
    out, moved = tmp_path / "feed.jsonl", tmp_path / "moved"
    with Speaker() as speaker:
        speaker.beat = [prediction("mic"), status("mic"), daemon()]
        with running(*command("log", speaker.endpoint, "--out", out)) as process:
            until(lambda: out.exists() and out.stat().st_size > 3_000)
            os.replace(out, moved)
            process.send_signal(signal.SIGHUP)
            until(lambda: out.exists() and out.stat().st_size > 1_000)
    messages = [decode(line) for file in (moved, out) for line in file.read_bytes().splitlines()]
    assert {type(m) for m in messages} == {Prediction, Status, DaemonStatus}
    seqs = [m.seq for m in messages if isinstance(m, Prediction)]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs))), "each once, none missing"
    assert all(m.run == "a1" for m in messages)


def test_the_command_rotates_and_narrows(tmp_path: Path) -> None:
    out = tmp_path / "feed.jsonl"
    words = (out, "--max-mb", "0.01", "--keep", "1", "--kind", "status", "--stream", "mic")
    with Speaker() as speaker:
        speaker.beat = [m for _ in range(20) for m in (prediction("mic"), status("mic"), status("other"))]
        with running(*command("log", speaker.endpoint, "--out", *words)):
            until(lambda: (tmp_path / "feed.jsonl.1").exists())
    assert 9_000 < (tmp_path / "feed.jsonl.1").stat().st_size <= 10_000
    for file in tmp_path.iterdir():
        messages = [decode(line) for line in file.read_bytes().splitlines()]
        assert {(type(m), m.stream) for m in messages} <= {(Status, "mic")}


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--out", "/nowhere/f"], 1, "cannot write /nowhere/f: No such file"),
        (["--out", "f", "--kind", "nonsense"], 2, "'nonsense' is not a kind"),
        (["--out", "f", "--stream", "a/b"], 2, "cannot name a stream"),
        ([], 2, "--out"),
    ],
)
def test_wrong_words(
    words: list[str], code: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("log", *words)
    assert done.returncode == code
    assert told in done.stderr


def kept(thinning: Thinning, *messages: AnyMessage) -> list[float]:
    return [message.time for message in messages if thinning.keeps(message)]


def test_each_stream_is_written_as_often_as_asked_and_its_last_words_always() -> None:
    said = [prediction("mic", time=float(t)) for t in range(10)]
    other = [prediction("usb", time=float(t)) for t in range(3)]
    end = prediction("mic", time=10.0, state="ended")
    assert kept(Thinning(4.0), *said, *other, end) == [0, 4, 8, 0, 10]
    assert kept(Thinning(), *said) == [float(t) for t in range(10)]
    back = [prediction("mic", time=100.0), prediction("mic", time=50.0)]
    assert kept(Thinning(4.0), *back) == [100, 50], "a clock that is set back does not stop it"


def test_a_change_of_state_is_written_at_once() -> None:
    said = [prediction("mic", time=t, state=s) for t, s in ((0.0, "live"), (1.0, "lost"), (2.0, "lost"))]
    assert kept(Thinning(10.0), *said) == [0, 1]


def test_only_the_last_of_each_stream() -> None:
    said = [model("mic"), prediction("mic", time=2.0), status("mic", time=3.0), daemon(time=4.0)]
    end = [prediction("mic", time=5.0, state="ended"), status("mic", time=6.0, state="ended")]
    assert kept(Thinning(last=True), *said, *end) == [5, 6]
