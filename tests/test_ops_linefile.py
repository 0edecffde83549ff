"""A file of lines: what a full disk, a crash and a file that was moved away do to it, and what they do not."""

import os
from pathlib import Path

import pytest
from small_disk import biggest_file

from streamcab.ops.linefile import LineFile


def test_lines_are_appended_to_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"one\n")
    file = LineFile(tmp_path / "f")
    file.append(b"two\nthree\n")
    file.close()
    assert (tmp_path / "f").read_bytes() == b"one\ntwo\nthree\n"


def test_what_a_full_disk_has_cut_is_taken_back_by_the_only_writer(tmp_path: Path) -> None:
    file = LineFile(tmp_path / "f", alone=True)
    file.append(b"one\n")
    with biggest_file(6), pytest.raises(OSError, match="too large"):
        file.append(b"two and more\n")
    assert file.size == 4
    file.append(b"three\n")
    assert (tmp_path / "f").read_bytes() == b"one\nthree\n"
    assert file.size == 10


def test_among_several_writers_it_ends_where_it_was_cut(tmp_path: Path) -> None:
    file = LineFile(tmp_path / "f")
    file.append(b"one\n")
    with biggest_file(6), pytest.raises(OSError, match="too large"):
        file.append(b"two and more\n")
    file.append(b"three\n")
    file.append(b"four\n")
    assert (tmp_path / "f").read_bytes() == b"one\ntw\nthree\nfour\n"


def test_a_disk_that_took_nothing_has_cut_nothing(tmp_path: Path) -> None:
    file = LineFile(tmp_path / "f")
    file.append(b"one\n")
    with biggest_file(4), pytest.raises(OSError, match="too large"):
        file.append(b"two\n")
    file.append(b"three\n")
    assert (tmp_path / "f").read_bytes() == b"one\nthree\n"


def test_a_line_that_a_crash_has_cut_is_closed_by_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"one\ntw")
    file = LineFile(tmp_path / "f", alone=True)
    file.append(b"three\n")
    assert (tmp_path / "f").read_bytes() == b"one\ntw\nthree\n"


def test_a_second_writer_of_a_file_of_ones_own_is_refused(tmp_path: Path) -> None:
    file = LineFile(tmp_path / "f", alone=True)
    with pytest.raises(BlockingIOError):
        LineFile(tmp_path / "f", alone=True)
    file.close()
    LineFile(tmp_path / "f", alone=True).close()


@pytest.mark.parametrize("alone", [False, True])
def test_a_file_that_is_moved_or_removed_is_begun_anew(tmp_path: Path, alone: bool) -> None:
    path = tmp_path / "f"
    file = LineFile(path, alone=alone)
    file.append(b"one\n")
    assert not file.renew()
    path.rename(tmp_path / "moved")
    assert not file.renew()
    file.append(b"two\n")
    path.unlink()
    assert file.renew()
    file.append(b"three\n")
    assert path.read_bytes() == b"three\n"
    assert (tmp_path / "moved").read_bytes() == b"one\n"


def test_while_its_folder_is_gone_it_cannot_be_renewed_and_then_it_can(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    file = LineFile(folder / "f")
    (folder / "f").unlink()
    folder.rmdir()
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            file.renew()
    folder.mkdir()
    assert not file.renew()
    file.append(b"one\n")
    assert (folder / "f").read_bytes() == b"one\n"


def test_strangers_may_not_read(tmp_path: Path) -> None:
    LineFile(tmp_path / "f").close()
    assert (tmp_path / "f").stat().st_mode & 0o007 == 0


def test_a_descriptor_stays_its_owners() -> None:
    inlet, outlet = os.pipe()
    file = LineFile.on(outlet)
    assert not file.renew()
    file.append(b"one\n")
    file.close()
    os.write(outlet, b"two\n")
    os.close(outlet)
    with os.fdopen(inlet, "rb") as reader:
        assert reader.read() == b"one\ntwo\n"
