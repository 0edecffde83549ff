"""A FLAC file that can be read at any moment: after a kill, and while it is written."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from signals import noise

from streamcab.errors import AudioError
from streamcab.record.flac import BLOCK, FlacFile


def exact(samples: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(samples, -1, 32767 / 32768) * 32768).astype(np.int16)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 192_000, 655_350])
def test_it_can_be_read_after_each_write_but_for_the_newest_blocks(tmp_path: Path, rate: int) -> None:
    sound = noise(2.0, rate)
    path = tmp_path / "a.flac"
    file = FlacFile(path, rate, "mic")
    for n in range(0, len(sound), 5_000):
        file.write(sound[n : n + 5_000])
        if n >= 15_000:
            there, hz = soundfile.read(path, dtype="int16")
            assert hz == rate
            assert min(n + 5_000, len(sound)) - BLOCK <= len(there)
            assert (there == exact(sound[: len(there)])).all()
    file.close()
    whole, _ = soundfile.read(path, dtype="int16")
    assert (whole == exact(sound)).all()
    assert soundfile.SoundFile(path).comment == "mic"


def test_what_is_no_number_is_silent_and_what_is_too_loud_is_clipped(tmp_path: Path) -> None:
    file = FlacFile(tmp_path / "a.flac", 8_000)
    file.write(np.array([np.nan, np.inf, -np.inf, 3.0, -3.0, 0.5], np.float32))
    file.close()
    there, _ = soundfile.read(tmp_path / "a.flac", dtype="int16")
    assert there.tolist() == [0, 32767, -32768, 32767, -32768, 16384]


WRITER = """
import sys, numpy as np
from pathlib import Path
from streamcab.record.flac import FlacFile
file = FlacFile(Path(sys.argv[1]), 8000)
for n in range(10):
    file.write(np.full(8000, (n + 1) / 100, np.float32))
print("written", flush=True)
sys.stdin.read()
"""


def test_a_killed_writer_leaves_a_file_that_others_can_read(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    there, rate = soundfile.read(path)
    assert rate == 8_000
    assert len(there) >= 80_000 - BLOCK
    assert there[0] == pytest.approx(0.01, abs=1e-4)
    assert there[-1] == pytest.approx(0.1, abs=0.011)


def test_it_is_for_its_owner_alone_and_overwrites_nothing(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        file = FlacFile(tmp_path / "a.flac", 8_000)
    finally:
        os.umask(before)
    file.write(noise(0.1, 8_000))
    file.close()
    assert (tmp_path / "a.flac").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        FlacFile(tmp_path / "a.flac", 8_000)


def test_a_rate_that_flac_cannot_say_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="768000"):
        FlacFile(tmp_path / "a.flac", 768_000)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_an_error_and_what_was_written_stays_readable(tmp_path: Path) -> None:
    file = FlacFile(tmp_path / "a.flac", 8_000)
    file.write(noise(2.0, 8_000))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.stat(file.path).st_size + 100, hard))
    try:
        with pytest.raises(OSError, match=r"a\.flac"):
            file.write(noise(2.0, 8_000))
        with contextlib.suppress(OSError):
            file.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    there, _ = soundfile.read(tmp_path / "a.flac")
    assert len(there) >= 16_000 - BLOCK


def test_a_file_in_which_nothing_could_be_written_is_removed(tmp_path: Path) -> None:
    FlacFile(tmp_path / "a.flac", 8_000).close()
    assert not list(tmp_path.iterdir())
