"""The log: its forms, its file, and that nobody can flood it."""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_disk import biggest_file

from streamcab.errors import StreamcabError
from streamcab.ops.logs import BURST, Limit, Log, form_for, start


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """Where the log goes during a test; the root logger is as before after it."""
    root = logging.getLogger()
    level = root.level
    try:
        yield tmp_path / "log"
    finally:
        for handler in [h for h in root.handlers if isinstance(h, Log)]:
            root.removeHandler(handler)
            handler.close()
        root.setLevel(level)


log = logging.getLogger("streamcab.test")


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("streamcab.test", logging.INFO, "", 0, text, ("x",), None)


def test_a_kind_has_a_burst_then_so_many_a_second_and_what_was_left_out_is_counted() -> None:
    now = 0.0
    limit = Limit(burst=3, per_second=2.0, clock=lambda: now)
    assert [limit.passes(record("one %s")) for _ in range(5)] == [0, 0, 0, None, None]
    assert limit.passes(record("other %s")) == 0
    now = 0.5
    assert [limit.passes(record("one %s")) for _ in range(2)] == [2, None]
    now = 100.0
    assert [limit.passes(record("one %s")) for _ in range(4)] == [1, 0, 0, None]


def test_a_flood_is_cut_and_said(file: Path) -> None:
    handler = start("info", "text", file)
    handler._limit = Limit(clock=lambda: 0.0)
    for n in range(BURST + 7):
        log.info("call %d begins", n)
    log.info("something else")
    assert len(file.read_text(encoding="utf-8").splitlines()) == BURST + 1
    handler._limit = Limit(burst=1, clock=iter([0.0, 0.0, 5.0]).__next__)
    for n in range(3):
        log.info("call %d begins", n)
    assert file.read_text(encoding="utf-8").endswith("call 2 begins (1 more like this were left out)\n")


def test_lines_for_programs_are_json_with_the_trace_in_one_line(file: Path) -> None:
    start("info", "json", file)
    log.warning("mic %s", "lost\nand more")
    try:
        raise ValueError("no")
    except ValueError:
        log.exception("broken")
    first, second = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    assert first["level"] == "warning"
    assert first["logger"] == "streamcab.test"
    assert first["message"] == "mic lost\nand more"
    assert first["time"] > 1e9
    assert "ValueError: no" in second["trace"]


def test_lines_for_the_journal_bear_their_level(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    start("debug", "journal")
    for say in (log.debug, log.info, log.warning, log.error):
        say("one\ntwo")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"<{level}>{word}" for level in (7, 6, 4, 3) for word in ("one", "two")]


def test_the_journal_is_known_by_its_inode(tmp_path: Path) -> None:
    there = os.fstat(2)
    journal = {"JOURNAL_STREAM": f"{there.st_dev}:{there.st_ino}"}
    assert form_for("auto", None, journal) == "journal"
    assert form_for("auto", tmp_path, journal) == "text"
    assert form_for("json", None, journal) == "json"
    for other in ({}, {"JOURNAL_STREAM": "1:2"}, {"JOURNAL_STREAM": "nonsense"}):
        assert form_for("auto", None, other) == "text"


def test_a_new_file_is_begun_where_the_old_one_was_moved_away(file: Path, tmp_path: Path) -> None:
    handler = start("info", "text", file)
    log.info("before")
    file.rename(tmp_path / "old")
    handler.reopen("text", file)
    log.info("after")
    assert "before" in (tmp_path / "old").read_text(encoding="utf-8")
    assert file.read_text(encoding="utf-8").endswith("INFO after\n")
    assert file.stat().st_mode & 0o007 == 0
    with pytest.raises(StreamcabError, match="cannot write the log"):
        handler.reopen("text", tmp_path / "none" / "log")
    log.info("still here")
    assert file.read_text(encoding="utf-8").endswith("still here\n")


def test_a_file_or_folder_that_is_removed_is_begun_anew_and_nothing_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    handler = start("info", "text", folder / "log")
    log.info("one")
    (folder / "log").unlink()
    log.info("two")
    assert [line[9:] for line in (folder / "log").read_text(encoding="utf-8").splitlines()] == [
        "WARNING the log goes on: it was removed, this is a new one",
        "INFO two",
    ]
    (folder / "log").unlink()
    folder.rmdir()
    log.info("three")
    log.info("four")
    told, *rest = capsys.readouterr().err.splitlines()
    assert f"the log {folder / 'log'} cannot be written: No such file or directory" in told
    assert [line[9:] for line in rest] == ["INFO three", "INFO four"]
    folder.mkdir()
    log.info("five")
    assert [line[9:] for line in (folder / "log").read_text(encoding="utf-8").splitlines()] == [
        "WARNING the log goes on: 2 lines went to standard error meanwhile",
        "INFO five",
    ]
    (folder / "log").rename(folder / "log.1")
    log.info("six")
    assert [line[9:] for line in (folder / "log").read_text(encoding="utf-8").splitlines()] == ["INFO six"]
    assert capsys.readouterr().err == ""
    assert (handler.lost, handler.counters()) == (0, {"log-strayed": 2})


def test_a_full_disk_sends_lines_to_standard_error(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handler = start("info", "text", Path("/dev/full"))
    log.info("nobody finds this in the file")
    told, line = capsys.readouterr().err.splitlines()
    assert "the log /dev/full cannot be written: No space left on device" in told
    assert line.endswith("INFO nobody finds this in the file")
    assert (handler.lost, handler.strayed) == (0, 1)


def test_a_line_that_the_disk_has_cut_ends_where_it_was_cut(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start("info", "text", file)
    log.info("one")
    with biggest_file(file.stat().st_size + 10):
        log.info("two")
        log.info("three")
    log.info("four")
    lines = file.read_text(encoding="utf-8").splitlines()
    assert [line[9:] for line in (lines[0], *lines[2:])] == [
        "INFO one",
        "WARNING the log goes on: 2 lines went to standard error meanwhile",
        "INFO four",
    ]
    assert len(lines[1]) == 10
    assert [line[9:] for line in capsys.readouterr().err.splitlines()][1:] == ["INFO two", "INFO three"]
