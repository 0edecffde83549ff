"""OpenVINO's cache: in the user's own folder or nowhere, and worth no failure whatever lies in it."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest
from speech import SMALL_STAGES, tiny_model

from streamcab.nn.backend.openvino import OpenVinoNet
from streamcab.ops.cache import KEPT, cache_folder, openvino_cache

NET = tiny_model(1, stages=SMALL_STAGES, classifiers=8).weights
X = np.random.default_rng(0).standard_normal(40 * NET.architecture.interval).astype(np.float32)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_it_is_made_for_this_user_alone(home: Path) -> None:
    folder = openvino_cache()
    assert folder is not None
    assert folder.parent == home / "cache" / "streamcab"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert openvino_cache() == folder


def test_without_the_variable_it_is_in_the_home_and_a_relative_one_counts_for_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(home))
    for value in ("", "somewhere/else"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache_folder() == home / ".cache" / "streamcab"


def test_a_folder_that_others_can_write_or_a_link_is_not_used(home: Path) -> None:
    folder = openvino_cache()
    assert folder is not None
    folder.chmod(0o777)
    assert openvino_cache() is None
    folder.rmdir()
    (home / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(home / "elsewhere")
    assert openvino_cache() is None


def test_where_it_cannot_be_made_there_is_none(home: Path) -> None:
    (home / "cache").write_text("a file")
    assert openvino_cache() is None


def test_of_many_files_the_oldest_go(home: Path) -> None:
    folder = openvino_cache()
    assert folder is not None
    for i in range(KEPT + 5):
        file = folder / f"{i}.blob"
        file.touch()
        os.utime(file, (i, i))
    openvino_cache()
    assert sorted(int(f.stem) for f in folder.iterdir()) == list(range(5, KEPT + 5))


def answer(cache: Path | None) -> np.ndarray:
    return OpenVinoNet(NET, cache=cache).clip(X)


def test_what_comes_from_it_is_the_same(home: Path) -> None:
    cache, plain = openvino_cache(), answer(None)
    assert cache is not None
    np.testing.assert_array_equal(answer(cache), plain)
    assert list(cache.iterdir())
    np.testing.assert_array_equal(answer(cache), plain)


def test_damage_changes_no_answer(home: Path) -> None:
    cache, plain = openvino_cache(), answer(None)
    assert cache is not None
    answer(cache)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    rng = np.random.default_rng(1)
    ways = [whole[:n] for n in (0, 1, 100, len(whole) // 2, len(whole) - 1)]
    ways += [
        whole[:at] + bytes(b ^ 0x5A for b in whole[at : at + 64]) + whole[at + 64 :]
        for at in rng.integers(0, len(whole), 12).tolist()
    ]
    for damaged in ways:
        file.unlink(missing_ok=True)
        file.write_bytes(damaged)
        np.testing.assert_allclose(answer(cache), plain, rtol=0, atol=1e-5)


def test_a_folder_that_went_away_is_no_error(home: Path) -> None:
    plain = answer(None)
    np.testing.assert_array_equal(answer(home / "none" / "such"), plain)
    (home / "file").touch()
    np.testing.assert_array_equal(answer(home / "file"), plain)
