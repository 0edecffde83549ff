"""The folder of recordings: what goes, in which order, and what is never touched."""

import os
import shutil
import subprocess
import sys
import threading
from collections import namedtuple
from pathlib import Path

import pytest

from streamcab.clock import BELIEVED_S
from streamcab.errors import StreamcabError
from streamcab.record.retention import Limits, Retention

NOW = 1_800_000_000.0
Usage = namedtuple("Usage", "total used free")


class Set:
    """A clock that a test sets; the durations pass as the date does, unless it jumps."""

    def __init__(self) -> None:
        self.jumped = self.passed = 0.0

    def time(self) -> float:
        return NOW + self.passed + self.jumped

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += seconds

    def wait(self, event: threading.Event, seconds: float) -> None:
        self.passed += seconds


def put(folder: Path, name: str, size: int, age_s: float) -> str:
    file = folder / f"{name}.20260101T000000.000Z.flac"
    file.write_bytes(bytes(size))
    os.utime(file, (NOW - age_s, NOW - age_s))
    return file.name


def there(folder: Path) -> set[str]:
    return {file.name.split(".")[0] for file in folder.iterdir()}


def test_a_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    retention = Retention(tmp_path / "a" / "b", Limits(1000, 60, 0))
    assert (tmp_path / "a/b").stat().st_mode & 0o077 == 0
    assert retention.room == 1000


def test_the_oldest_goes_first_and_what_is_too_old_in_any_case(tmp_path: Path) -> None:
    retention = Retention(tmp_path, Limits(1_000, 100, 0), Set())
    put(tmp_path, "ancient", 1, 101)
    for name, age in (("old", 90), ("middle", 50), ("new", 10)):
        put(tmp_path, name, 300, age)
    retention.tidy(())
    assert there(tmp_path) == {"old", "middle", "new"}
    assert (retention.deleted, retention.room) == (1, 100)
    put(tmp_path, "newest", 200, 5)
    retention.tidy(())
    assert there(tmp_path) == {"middle", "new", "newest"}
    assert retention.room == 200


def test_what_is_in_use_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    retention = Retention(tmp_path, Limits(1_000, 100, 0), Set())
    (tmp_path / "song.flac").write_bytes(bytes(5_000))
    used = put(tmp_path, "used", 2_000, 900)
    put(tmp_path, "free", 100, 1)
    retention.tidy({used})
    assert {"song.flac", used} <= {file.name for file in tmp_path.iterdir()}
    assert retention.room <= 0
    assert "all in use" in retention.why


WRITER = """
import sys, numpy as np
from pathlib import Path
from streamcab.record.flac import FlacFile
file = FlacFile(Path(sys.argv[1]), 8000)
file.write(np.zeros(8000, np.float32))
print("written", flush=True)
sys.stdin.read()
"""


def test_what_another_process_writes_stays_until_that_has_ended(tmp_path: Path) -> None:
    clock = Set()
    retention = Retention(tmp_path, Limits(100_000, 100, 0), clock, processes=2)
    file = tmp_path / "call.20260101T000000.000Z.flac"
    words = [sys.executable, "-c", WRITER, str(file)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        os.utime(file, (NOW - 500, NOW - 500))
        retention.tidy(())
        assert there(tmp_path) == {"call"}
        writer.kill()
    retention.tidy(())
    assert there(tmp_path) == set()


def test_several_processes_share_the_room_and_wait_for_it(tmp_path: Path) -> None:
    assert Retention(tmp_path, Limits(900, 100, 0), Set(), processes=3).room == 300
    put(tmp_path, "call", 900, 1)
    full = Retention(tmp_path, Limits(0, 100, 10**18), Set(), processes=3)
    assert "shall stay free" in full.why
    (tmp_path / "file").touch()
    assert Retention(tmp_path / "file", Limits(900, 100, 0), Set(), processes=3).room == 0


@pytest.mark.parametrize("years", [10, 0.01])
def test_a_clock_that_jumps_deletes_nothing_until_it_has_stood_for_a_while(
    tmp_path: Path, years: float
) -> None:
    clock, year = Set(), 365 * 86_400.0
    retention = Retention(tmp_path, Limits(1_000, 86_400, 0), clock)
    put(tmp_path, "call", 1, 10)
    for jump in (years * year, -years * year, 0.0, years * year):
        clock.jumped = jump
        retention.tidy(())
        assert there(tmp_path) == {"call"}
        assert ("the clock has jumped by" in retention.doubt) == bool(jump)
    clock.sleep(BELIEVED_S - 1)
    retention.tidy(())
    assert there(tmp_path) == {"call"}
    clock.sleep(1)
    retention.tidy(())
    assert there(tmp_path) == set()
    assert retention.doubt == ""


def test_a_clock_that_is_corrected_is_believed_at_once(tmp_path: Path) -> None:
    clock = Set()
    retention = Retention(tmp_path, Limits(1_000, 7_200, 0), clock)
    put(tmp_path, "call", 1, 3_000)
    for jump in (3_000.0, 6_000.0):  # twice less than a jump
        clock.jumped = jump
        retention.tidy(())
        assert retention.doubt == ""
    assert there(tmp_path) == set()


def test_a_disk_that_is_nearly_full_refuses_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 2_000_000_000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, free))
    retention = Retention(tmp_path, Limits(10**9, 100, 10**9))
    free = 999_999_999
    retention.tidy(())
    assert "1 GB shall stay free" in retention.why
    with pytest.raises(StreamcabError, match=r"not recorded: .* has 1\.00 GB free"):
        Retention(tmp_path, Limits(10**9, 100, 10**9))


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StreamcabError, match=r"cannot record into .*file"):
        Retention(tmp_path / "file", Limits(1000, 60, 0))


def test_two_recordings_of_one_moment_have_two_names(tmp_path: Path) -> None:
    retention = Retention(tmp_path, Limits(1000, 60, 0))
    first = retention.path("mic", 1_762_421_042.7)
    assert first.name == "mic.20251106T092402.700Z.flac"
    first.touch()
    assert retention.path("mic", 1_762_421_042.7).name == "mic.20251106T092402.701Z.flac"
