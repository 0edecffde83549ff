"""Shards: groups stay together, any few are like the whole, and the teacher's word on each is kept small."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from accents import KEYS, encode, make_accents
from numpy.typing import NDArray
from streamcab_train.context_keys import ContextKeys
from streamcab_train.shards import deal_shards, hear_shards, load_components, read_means, read_targets
from streamcab_train.voices import NO_CLASS, Parts, Voice, deal, read_voices

from streamcab.errors import ConfigError
from streamcab.source.file import read_audio


def of(groups: dict[str, int], label: int, corpus: str = "a") -> list[Voice]:
    return [
        Voice(Path(f"{group}{k}.wav"), corpus, f"{corpus}:{group}", "", label)
        for group, n in groups.items()
        for k in range(n)
    ]


def test_a_group_is_in_one_shard_and_a_rare_class_in_many() -> None:
    voices = of({f"u{k}": 4 for k in range(90)}, 0) + of({f"a{k}": 3 for k in range(10)}, 1)
    shards = deal_shards(voices, np.ones(len(voices), bool), 40, seed=1)
    assert sorted(np.concatenate(shards).tolist()) == list(range(len(voices)))
    assert max(map(len, shards)) <= 40
    where = {voices[i].group: n for n, shard in enumerate(shards) for i in shard}
    assert all(where[voices[i].group] == n for n, shard in enumerate(shards) for i in shard)
    rare = [sum(voices[i].label == 1 for i in shard) for shard in shards]
    assert len([n for n in rare if n]) >= 8
    again = deal_shards(voices, np.ones(len(voices), bool), 40, seed=1)
    other = deal_shards(voices, np.ones(len(voices), bool), 40, seed=2)
    assert [s.tolist() for s in again] == [s.tolist() for s in shards] != [s.tolist() for s in other]


def test_a_large_group_is_cut_and_who_is_not_wanted_is_in_none() -> None:
    voices = of({"a": 25, "b": 2}, NO_CLASS)
    wanted = np.arange(len(voices)) != 3
    shards = deal_shards(voices, wanted, 10, seed=0)
    assert max(map(len, shards)) <= 10
    assert sorted(np.concatenate(shards).tolist()) == np.flatnonzero(wanted).tolist()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Voice], Parts]:
    voices = read_voices(make_accents(tmp_path_factory.mktemp("voices")), {"us": 0, "england": 1})
    return voices, deal(voices, 0, strangers=KEYS.strangers, left_out=KEYS.left_out)


def shards_of(voices: list[Voice], parts: Parts, keys: ContextKeys = KEYS) -> list[NDArray[np.int64]]:
    assert keys.stream is not None
    return deal_shards(voices, parts.teaches, keys.stream.shard, keys.seed)


def test_what_is_kept_is_what_the_teacher_said(corpus: tuple[list[Voice], Parts], tmp_path: Path) -> None:
    voices, parts = corpus
    shards = shards_of(voices, parts)
    components = hear_shards(voices, parts, shards, encode, KEYS, tmp_path, lambda _: None)
    means, length = read_means(tmp_path, shards, len(voices))
    kept = load_components(tmp_path / "components.safetensors")
    for number, shard in enumerate(shards):
        for i, codes in zip(shard, read_targets(tmp_path, number), strict=True):
            frames = encode(*read_audio(voices[i].path)).astype(np.float16).astype(np.float32)
            # A step is 0.047 deviations.
            np.testing.assert_allclose(codes, np.clip(components(frames), -6, 6), atol=0.03)
            np.testing.assert_allclose(kept(frames), components(frames), atol=1e-6)
            np.testing.assert_allclose(means[i], frames.mean(0), atol=1e-2)
            assert length[i] == len(frames)
    assert (length[~parts.teaches] == 0).all()
    assert not list(tmp_path.glob("frames-*"))


@pytest.mark.parametrize("heard", [1, 6, 10])
def test_killed_it_hears_only_what_is_left(
    corpus: tuple[list[Voice], Parts], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: int
) -> None:
    # Three clips are the sample: the components are fitted before the rest is heard.
    monkeypatch.setattr("streamcab_train.shards.SAMPLE", 3)
    voices, parts = corpus
    shards = shards_of(voices, parts)
    calls = 0

    class Killed(Exception):
        pass

    def mortal(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
        nonlocal calls
        calls += 1
        if calls == heard:
            raise Killed
        return encode(samples, rate)

    with pytest.raises(Killed):
        hear_shards(voices, parts, shards, mortal, KEYS, tmp_path / "killed", lambda _: None)
    hear_shards(voices, parts, shards, mortal, KEYS, tmp_path / "killed", lambda _: None)
    clips = int(parts.teaches.sum())
    assert calls <= clips + max(map(len, shards))
    hear_shards(voices, parts, shards, encode, KEYS, tmp_path / "whole", lambda _: None)
    for number in range(len(shards)):
        for a, b in zip(*(read_targets(tmp_path / run, number) for run in ("killed", "whole")), strict=True):
            np.testing.assert_array_equal(a, b)


def test_targets_of_other_clips_are_refused(corpus: tuple[list[Voice], Parts], tmp_path: Path) -> None:
    voices, parts = corpus
    shards = shards_of(voices, parts)
    hear_shards(voices, parts, shards, encode, KEYS, tmp_path, lambda _: None)
    renamed = [replace(voice, accent="elsewhere") for voice in voices]
    with pytest.raises(ConfigError, match=r"clips was .* take another --out"):
        hear_shards(renamed, parts, shards, encode, KEYS, tmp_path, lambda _: None)


def test_what_cannot_be_read_is_named_and_has_no_frames(
    corpus: tuple[list[Voice], Parts], tmp_path: Path
) -> None:
    voices, parts = corpus
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    first = int(np.flatnonzero(parts.teaches)[0])
    voices = [*voices]
    voices[first] = Voice(broken, "a", "a:x", "", NO_CLASS)
    said: list[str] = []
    shards = shards_of(voices, parts)
    hear_shards(voices, parts, shards, encode, KEYS, tmp_path / "targets", said.append)
    _, length = read_means(tmp_path / "targets", shards, len(voices))
    assert length[first] == 0
    assert (length[parts.teaches] == 0).sum() == 1
    assert [line for line in said if "broken.wav" in line]
