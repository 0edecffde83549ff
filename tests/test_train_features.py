"""The cache: the features of the front end, made once, never half, and made again when damaged."""

import json
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpus import make_corpus, syllables
from patience import PATIENCE_S
from streamcab_train.features import load_features, quietly

from streamcab.errors import CorpusError
from streamcab.inference import offline
from streamcab.nn.cabcnn import Architecture
from streamcab.source.file import read_audio

ARCH = Architecture(("low", "high"))
Files = list[tuple[str, Path]]


class Counting:
    """Progress that notes which files were asked for, and may fail after `survives` of them."""

    def __init__(self, survives: int = 1000) -> None:
        self.survives = survives
        self.heard: list[str] = []

    def __call__(self, files: Sequence[tuple[str, Path]], done: int) -> Iterator[tuple[str, Path]]:
        for name, path in files[done:]:
            if len(self.heard) == self.survives:
                raise KeyboardInterrupt
            self.heard.append(name)
            yield name, path


@pytest.fixture
def files(tmp_path: Path) -> Files:
    make_corpus(tmp_path / "corpus", speakers=2, clips=2, seconds=1.2)
    return [(path.name, path) for path in sorted((tmp_path / "corpus").glob("*.wav"))]


def test_features_are_those_that_serving_hears(files: Files, tmp_path: Path) -> None:
    features = load_features(files, ARCH, tmp_path / "cache")
    assert isinstance(features.x, np.memmap)
    for i, (_, path) in enumerate(files):
        heard = offline.features(*read_audio(path), ARCH)
        x, kind = features.clip(i)
        np.testing.assert_array_equal(x, heard.x[0])
        np.testing.assert_array_equal(kind, heard.kind[0])
        x, kind = features.clip(i, 7, 5)
        np.testing.assert_array_equal(x, heard.x[0, 700:1200])
        assert kind.shape == (5,)


def test_the_second_time_no_file_is_read(files: Files, tmp_path: Path) -> None:
    first, second = Counting(), Counting()
    before = load_features(files, ARCH, tmp_path / "cache", first)
    after = load_features(files, ARCH, tmp_path / "cache", second)
    assert (len(first.heard), len(second.heard)) == (len(files), 0)
    np.testing.assert_array_equal(before.x, after.x)
    assert before.sha256 == after.sha256


@pytest.mark.parametrize("survives", [0, 1, 3])
def test_an_interrupted_cache_goes_on_where_it_was(files: Files, tmp_path: Path, survives: int) -> None:
    whole = load_features(files, ARCH, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        load_features(files, ARCH, tmp_path / "cache", Counting(survives))
    rest = Counting()
    found = load_features(files, ARCH, tmp_path / "cache", rest)
    assert rest.heard == [name for name, _ in files[survives:]]
    np.testing.assert_array_equal(found.x, whole.x)
    np.testing.assert_array_equal(found.kind, whole.kind)
    assert found.sha256 == whole.sha256


def test_what_a_kill_left_half_written_is_written_again(files: Files, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        load_features(files, ARCH, tmp_path / "cache", Counting(2))
    (part,) = (tmp_path / "cache").glob("*.part")
    for name in ("x.npy", "kind.npy", "done.jsonl"):
        with (part / name).open("ab") as file:
            file.write(b'{"length": 4')
    rest = Counting()
    found = load_features(files, ARCH, tmp_path / "cache", rest)
    assert len(rest.heard) == len(files) - 2
    np.testing.assert_array_equal(found.x, load_features(files, ARCH, tmp_path / "whole").x)


def test_a_log_that_promises_more_than_there_is_begins_again(files: Files, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        load_features(files, ARCH, tmp_path / "cache", Counting(2))
    (part,) = (tmp_path / "cache").glob("*.part")
    os.truncate(part / "x.npy", 500)
    rest = Counting()
    load_features(files, ARCH, tmp_path / "cache", rest)
    assert len(rest.heard) == len(files)


@pytest.mark.parametrize("name", ["x.npy", "kind.npy", "index.json"])
@pytest.mark.parametrize("damage", ["cut", "gone", "rubbish"])
def test_a_damaged_cache_is_made_again(files: Files, tmp_path: Path, name: str, damage: str) -> None:
    whole = np.array(load_features(files, ARCH, tmp_path / "cache").x)
    (file,) = (tmp_path / "cache").glob(f"*/{name}")
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if damage == "cut" else b"\x93NUMPY{")
    again = Counting()
    found = load_features(files, ARCH, tmp_path / "cache", again)
    assert len(again.heard) == len(files)
    np.testing.assert_array_equal(found.x, whole)


def test_another_file_front_end_or_normaliser_is_another_cache(files: Files, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    load_features(files, ARCH, cache)
    clip = {"normaliser": "clip", "gate": False}
    for arch in (
        Architecture(("a", "b"), rate=16000),
        Architecture(("a", "b"), **clip),  # type: ignore[arg-type]
        Architecture(("a", "b"), **clip, extra={"seconds": 1.0}),  # type: ignore[arg-type]
    ):
        again = Counting()
        load_features(files, arch, cache, again)
        assert len(again.heard) == len(files)
    again = Counting()
    load_features(files, Architecture(("other", "labels", "here"), classifiers=3), cache, again)
    assert again.heard == []
    os.utime(files[0][1], ns=(1, 1))
    load_features(files, ARCH, cache, again)
    assert len(again.heard) == len(files)


def test_those_who_want_the_same_cache_wait_for_the_first(files: Files, tmp_path: Path) -> None:
    begun, go = threading.Event(), threading.Event()
    second = Counting()

    def slowly(files: Sequence[tuple[str, Path]], done: int) -> Iterator[tuple[str, Path]]:
        begun.set()
        assert go.wait(PATIENCE_S)
        yield from quietly(files, done)

    first = threading.Thread(target=load_features, args=(files, ARCH, tmp_path / "cache", slowly))
    other = threading.Thread(target=load_features, args=(files, ARCH, tmp_path / "cache", second))
    first.start()
    assert begun.wait(PATIENCE_S)
    other.start()
    go.set()
    first.join()
    other.join()
    assert second.heard == []
    assert len(list((tmp_path / "cache").glob("*/index.json"))) == 1


def test_the_header_is_what_numpy_writes(files: Files, tmp_path: Path) -> None:
    features = load_features(files, ARCH, tmp_path / "cache")
    (home,) = (path.parent for path in (tmp_path / "cache").glob("*/index.json"))
    index = json.loads((home / "index.json").read_text(encoding="utf-8"))
    assert features.x.shape == (sum(index["length"]), 100)
    assert features.x.dtype == np.float32
    assert not any(path.suffix == ".part" for path in (tmp_path / "cache").iterdir())


def test_a_file_that_is_no_audio_is_named(files: Files, tmp_path: Path) -> None:
    files[1][1].write_bytes(b"not audio")
    files[1] = ("m.csv row 3", files[1][1])
    with pytest.raises(CorpusError, match=r"m\.csv row 3: .*not audio") as caught:
        load_features(files, ARCH, tmp_path / "cache")
    assert "\n" not in str(caught.value)


def test_a_clip_without_an_interval_has_a_place_in_it(files: Files, tmp_path: Path) -> None:
    soundfile.write(files[0][1], syllables(300.0, 0.01, 8000, 0), 8000)
    features = load_features(files, ARCH, tmp_path / "cache")
    assert features.length[0] == 0
    assert features.clip(0)[0].shape == (0,)
    assert features.clip(1)[1].shape == (features.length[1],)


def test_a_cache_that_cannot_be_written(files: Files, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CorpusError, match="cannot write the features"):
        load_features(files, ARCH, tmp_path / "file" / "cache")
