"""The score of accents of none of the labels, fitted and given to a model: what it learns, and what stays."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from accents import KEYS, make_accents
from speech import SMALL_STAGES, SMALL_TRUNK, talk, tiny_model
from streamcab_train.context_keys import ContextKeys
from streamcab_train.other_head import (
    LOST,
    Heard,
    Line,
    attach,
    examples,
    fit,
    fitted_apart,
    limit,
    run,
    use,
    weights,
)
from streamcab_train.voices import NO_CLASS, Voice, deal

from streamcab.classifier import Classifier
from streamcab.errors import CorpusError
from streamcab.inference.offline import intervals
from streamcab.nn import checkpoint
from streamcab.nn.checkpoint import Checkpoint
from streamcab.source.file import read_audio

FEATURES = 6


def voice(corpus: str, group: str, accent: str, label: int = NO_CLASS) -> Voice:
    return Voice(Path("x.wav"), corpus, f"{corpus}:{group}", accent, label)


def crowd() -> tuple[list[Voice], list[Heard], np.ndarray]:
    """Two corpora that sound unlike, of four accents of none and two labels; feature 0 tells none, 1 the corpus."""
    rng, voices, heard, strange = np.random.default_rng(0), [], [], []
    for c, (corpus, n) in enumerate((("a", 40), ("b", 12))):
        for label, accent in enumerate(("us", "england", "french", "dutch", "thai", "greek")):
            for i in range(n):
                known = label < 2
                mean = np.r_[0.0 if known else 1.5, 3.0 * c, np.zeros(FEATURES - 2)]
                voices.append(voice(corpus, f"{accent}{i}", accent, label if known else NO_CLASS))
                heard.append(Heard(mean + rng.normal(0, 1, (2, FEATURES)), np.array([50, 60]), 0.9))
                strange.append(not known)
    return voices, heard, np.array(strange)


def test_it_learns_the_accents_and_not_the_corpus() -> None:
    voices, heard, strange = crowd()
    line = fit(heard, strange, weights(voices, strange))
    assert line.weight[0] > 10 * abs(line.weight[1:]).max()
    # Even odds half way between the two sides.
    assert abs(line(np.array([[0.75, 1.5, 0, 0, 0, 0]]))[0]) < 0.3
    apart = fitted_apart(voices, heard, strange, seed=0)
    assert apart[strange].mean() > apart[~strange].mean() + 1


def test_each_corpus_weighs_both_sides_alike() -> None:
    voices, _, strange = crowd()
    weight = weights(voices, strange)
    assert weight.mean() == pytest.approx(1)
    for corpus in ("a", "b"):
        own = np.array([v.corpus == corpus for v in voices])
        assert weight[own & strange].sum() == pytest.approx(weight[own & ~strange].sum())


def test_only_corpora_with_both_sides_and_only_clips_that_teach_are_used() -> None:
    voices = [voice("a", f"u{i}", "us", 0) for i in range(6)] + [
        voice("a", "f", "french"),
        voice("a", "k", "korean"),
    ]
    voices += [voice("b", "m", "french"), voice("c", "w", "us", 0)]
    parts = deal(voices, 0, strangers=["french"], left_out=["korean"])
    some, strange = use(voices, parts)
    assert [voices[i].group for i in some[strange]] == ["a:f"]
    assert len(some) == 1 + 4
    assert not parts.judges[some].any()


def test_examples_share_out_the_votes_of_a_clip() -> None:
    votes = np.arange(500.0)[:, None]
    at = np.r_[0:190, 230:300, 395:635]
    means, counts = examples(votes, at, 200)
    assert counts.sum() == len(at)
    assert (counts >= 40).all()
    assert len(counts) > 1
    assert (counts @ means) / counts.sum() == pytest.approx(votes.mean())
    assert examples(votes[:3], at[:3], 200)[1].tolist() == [3]


def test_the_limit_costs_no_more_than_it_may() -> None:
    rng = np.random.default_rng(1)
    shown, confidence = rng.random(2000), rng.random(2000)
    corpora = ["a"] * 1900 + ["b"] * 100
    above = limit(shown, confidence, 0.6, corpora)
    lost = [
        np.mean(s[c >= 0.6] >= above)
        for s, c in ((shown[:1900], confidence[:1900]), (shown[1900:], confidence[1900:]))
    ]
    assert LOST - 0.02 < np.mean(lost) <= LOST + 1e-9
    assert limit(shown, confidence, 2.0, corpora) == 1.0


def test_a_model_that_has_it_answers_as_before(tmp_path: Path) -> None:
    card = {"name": "tiny", "abstain": {"below": 0.6}}
    before = Checkpoint(tiny_model(4, stages=SMALL_STAGES, classifiers=8, voice=3, **SMALL_TRUNK), card)
    line = Line(np.random.default_rng(0).normal(size=before.architecture.stages[-1].filters), 0.5)
    path = tmp_path / "m.safetensors"
    checkpoint.save(attach(before, line, 0.7, {"clips": 3}), path)
    after = checkpoint.load(path)
    assert after.card["abstain"] == {"below": 0.6, "other": 0.7}
    assert after.card["parameters"] == sum(p.numel() for p in after.model.parameters())
    x = talk(4, 8000)
    a, b = (Classifier(one, backend="torch").classify(x, 8000) for one in (before, after))
    assert a.probs == b.probs
    # Anew: what it had of that before is replaced.
    again = attach(after, line, 0.8, {})
    assert again.weights.arrays.keys() == after.weights.arrays.keys()
    assert again.confidence.abstain_other == 0.8


def written(folder: Path, keys: ContextKeys) -> Path:
    path = folder / "m.safetensors"
    checkpoint.save(Checkpoint(tiny_model(4, labels=keys.labels, stages=SMALL_STAGES, **SMALL_TRUNK)), path)
    return path


def test_a_run_fits_it_on_a_corpus(tmp_path: Path) -> None:
    manifest, path = make_accents(tmp_path, 6), written(tmp_path, KEYS)
    made = run(path, KEYS, [manifest], lambda _: None)
    assert made.card["other"]["accents"] == ["french"]
    assert made.card["other"]["clips"] == [8, 6]
    loaded = checkpoint.load(path)
    assert 0 <= loaded.confidence.abstain_other <= 1
    samples, rate = read_audio(tmp_path / "french0.wav")
    found = intervals(Classifier(loaded, backend="torch").runtime, samples, rate)[0].other
    assert np.isfinite(found).all()
    with pytest.raises(CorpusError, match="strangers"):
        run(path, msgspec.structs.replace(KEYS, strangers=("danish",)), [manifest], lambda _: None)
