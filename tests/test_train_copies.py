"""Copies: the first is what the product hears, the others differ by the seed alone, and what was killed goes on."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import streamcab_train.copies
from speech import talk
from streamcab_train.copies import hear, make_copy

from streamcab.dsp.gate import VOICED
from streamcab.errors import CorpusError
from streamcab.inference import offline
from streamcab.nn.cabcnn import Architecture

ARCH = Architecture(("us", "uk"))


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    found = []
    for k in range(5):
        found.append(folder / f"{k}.wav")
        soundfile.write(found[-1], talk(1.5 + 0.2 * k, 8000, k), 8000)
    return found


def test_the_first_copy_is_what_the_product_hears(paths: list[Path], tmp_path: Path) -> None:
    copy = make_copy(paths, ARCH, 0, 1, tmp_path)
    for i, path in enumerate(paths):
        samples, rate = soundfile.read(path, dtype="float32")
        heard = offline.features(samples, rate, ARCH)
        x, votes = copy.clip(i)
        np.testing.assert_allclose(x.ravel(), heard.x[0], atol=1e-2)
        np.testing.assert_array_equal(votes, heard.kind[0] == VOICED)
    assert (copy.speed == 1).all()


def test_others_differ_by_seed_and_number_alone(paths: list[Path], tmp_path: Path) -> None:
    one, again, other = (
        make_copy(paths, ARCH, number, 1, tmp_path / run) for number, run in ((1, "a"), (1, "b"), (2, "a"))
    )
    np.testing.assert_array_equal(one.x, again.x)
    assert one.x.shape != other.x.shape or not np.array_equal(one.x, other.x)
    x, votes = one.cut(2, 3, 4)
    assert (x.shape, votes.shape) == ((4, ARCH.interval), (4,))


@pytest.mark.parametrize("rate", [16000, 32000, 44100])
def test_a_recording_of_any_rate_is_augmented(tmp_path: Path, rate: int) -> None:
    samples = talk(1.5, rate, 1)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        x, votes, speed = hear(samples, rate, ARCH, None, rng, [samples])
        assert len(x) == len(votes)
        assert abs(len(x) * ARCH.interval_s - 1.5 / speed) < 0.1


def test_what_was_killed_goes_on(paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamcab_train.copies, "CLIPS", 2)
    with pytest.raises(CorpusError, match=r"missing\.wav"):
        make_copy([*paths[:4], tmp_path / "missing.wav"], ARCH, 0, 1, tmp_path / "c")
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "c").glob("*.npz")}
    assert len(before) == 2
    copy = make_copy(paths, ARCH, 0, 1, tmp_path / "c")
    assert len(copy.length) == 5
    assert all(file.stat().st_mtime_ns == at for file, at in before.items())
