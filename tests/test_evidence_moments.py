"""Moments: what is summed up in blocks is what a list gives; evidence weighs the mean, streamed as offline."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from searches import examples
from speech import SMALL_STAGES, tiny_model
from streamed import check_streamed_evidence, talk_of

from streamcab.evidence.accumulator import Spans, counted
from streamcab.evidence.layer import HALF_S, Evidence, evidence_of
from streamcab.evidence.moments import Moments, moments
from streamcab.inference.window import window_of
from streamcab.nn.cabcnn import Architecture, CabCnn
from streamcab.nn.checkpoint import Checkpoint, load, save

K, LAGS, HANG = 3, (0, 2, 5), 16


def telling(seed: int = 4, **kw: object) -> CabCnn:
    """A net whose evidence moves its answers a lot."""
    model = tiny_model(seed, stages=SMALL_STAGES, classifiers=8, summary=K, lags=LAGS, **kw)
    assert model.evidence is not None
    with torch.no_grad():
        draw = torch.Generator().manual_seed(seed)
        model.evidence.weight.copy_(torch.randn(model.evidence.weight.shape, generator=draw))
    return model


def by_hand(u: NDArray, votes: NDArray, lags: tuple[int, ...]) -> NDArray:
    """Pair by pair, in double precision."""
    mean = u[votes].mean(0, dtype=np.float64) if votes.any() else np.zeros(u.shape[1])
    found: list[float] = []
    for lag in lags:
        pairs = [(t, t - lag) for t in range(lag, len(u)) if votes[t] and votes[t - lag]]
        for i in range(u.shape[1]):
            for j in range(i if lag == 0 else 0, u.shape[1]):
                products = [float(u[t, i]) * float(u[s, j]) for t, s in pairs]
                found.append(np.mean(products) - mean[i] * mean[j] if pairs else 0.0)
    return np.array(found)


@settings(deadline=None)
@given(n=st.integers(0, 60), seed=st.integers(0, 2**20), share=st.sampled_from([0.0, 0.1, 0.7, 1.0]))
def test_moments_are_means_of_products_of_those_that_vote(n: int, seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    u, votes = rng.normal(2, 1, (n, K)).astype(np.float32), rng.random(n) < share
    found = moments(u, votes, LAGS)
    assert len(found) == Architecture(("a", "b"), summary=K, lags=LAGS).moments
    np.testing.assert_allclose(found, by_hand(u, votes, LAGS), atol=1e-9)


def test_what_follows_a_vote_closely_counts_where_it_was_heard() -> None:
    u, votes = np.zeros((3 * HANG, K), np.float32), np.zeros(3 * HANG, np.bool_)
    votes[5], u[8] = True, np.nan
    assert np.flatnonzero(counted(u, votes, HANG)).tolist() == [t for t in range(5, 6 + HANG) if t != 8]
    assert not counted(u, np.zeros_like(votes), HANG).any()


@examples(15, 40)
@given(
    length=st.sampled_from([40, 41, 100, 200]),
    steps=st.lists(st.tuples(st.integers(1, 9), st.sampled_from([0, 0, 0, 1, 3, 41, 300])), max_size=60),
    delay=st.integers(0, 3),
    often=st.sampled_from([0.02, 0.7]),
    seed=st.integers(0, 2**20),
)
def test_a_window_holds_the_moments_of_its_whole_blocks(
    length: int, steps: list[tuple[int, int]], delay: int, often: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    model = telling()
    # A slot on each side, busy with other streams.
    window, slot, at = window_of(model, 3, length), np.array([1]), -delay
    everything = np.full((sum(h + gap for h, gap in steps) + 1, K), np.nan, np.float32)
    voted = np.zeros(len(everything), np.bool_)
    for h, gap in steps:
        u, votes = rng.normal(1, 1, (3, h, K)).astype(np.float32), rng.random((3, h)) < often
        u[rng.random((3, h)) < 0.1] = np.nan
        first = np.array([0, at, 7])
        nothing = np.zeros((3, h, 3), np.float32), np.zeros((3, h, 8), np.float32)
        window.add(np.arange(3), first, *nothing, votes, u)
        for j in range(h):
            if at + j >= 0:
                everything[at + j], voted[at + j] = u[1, j], votes[1, j]
        at += h + gap
        talk = talk_of(voted[: max(at - gap, 0)], length)
        oldest = max(0, ((len(talk) - 1) // 40 - -(-length // 40) + 1) * 40) if talk else 0
        assert window._sums is not None
        found, size = window._sums.read(slot)
        counts = counted(everything[talk], voted[talk], HANG)
        assert size[0] == counts[oldest:].sum()
        want = pairs_since(everything[talk], counts, oldest)
        np.testing.assert_allclose(found[0], want, atol=2e-5)


def pairs_since(u: NDArray, votes: NDArray, oldest: int) -> NDArray:
    """As `by_hand` of what came since `oldest`, but for partners, which may be older."""
    new = votes.copy()
    new[:oldest] = False
    mean = u[new].mean(0, dtype=np.float64) if new.any() else np.zeros(K)
    parts = []
    for lag in LAGS:
        pairs = max(len(u) - lag, 0)
        both = new[lag:] & votes[:pairs]
        a, b = u[lag:][both].astype(np.float64), u[:pairs][both].astype(np.float64)
        moment = a.T @ b / len(a) - np.outer(mean, mean) if len(a) else np.zeros((K, K))
        parts.append(moment[np.triu_indices(K)] if lag == 0 else moment.ravel())
    return np.concatenate(parts)


def test_a_reused_slot_is_a_fresh_one() -> None:
    rng, slot, first = np.random.default_rng(0), np.array([0]), np.array([0])
    u, votes = rng.normal(0, 1, (1, 90, K)).astype(np.float32), np.ones((1, 90), np.bool_)
    fresh, used = (Moments(1, K, LAGS, Spans(40, HANG, 100)) for _ in range(2))
    used.add(slot, first, 5 * u, votes)
    used.reset(slot)
    for one in (fresh, used):
        one.add(slot, first, u, votes)
    np.testing.assert_array_equal(used.read(slot)[0], fresh.read(slot)[0])


@pytest.mark.parametrize("pooled_rate", [8000, 4000, 2000])
def test_evidence_weighs_the_mean_by_its_formula(pooled_rate: int) -> None:
    model = telling(pooled_rate=pooled_rate)
    assert model.evidence is not None
    mean, found = np.array([[0.2, 0.3, 0.5]]), np.random.default_rng(1).normal(0, 1, (1, 24))
    votes = np.array([HALF_S / 3 / model.architecture.interval_s])
    with torch.no_grad():
        word = model.evidence.double()(torch.from_numpy(found)).numpy()
    want = mean * np.exp(word / 4)
    np.testing.assert_allclose(Evidence(model)(mean, found, votes), want / want.sum(), rtol=1e-9)
    np.testing.assert_allclose(Evidence(model)(mean, found, np.zeros(1)), mean, rtol=1e-9)


def test_the_papers_model_has_none() -> None:
    model = tiny_model(0)
    assert evidence_of(model) is None
    assert model.architecture.widths == (3, 40, 0)
    assert "summary.weight" not in model.state_dict()


@pytest.mark.parametrize("rate", [8000, 44100])
def test_a_streamed_answer_is_the_offline_one(rate: int) -> None:
    check_streamed_evidence(telling(), rate)


def test_a_checkpoint_brings_its_evidence_back(tmp_path) -> None:
    model = telling()
    save(Checkpoint(model), tmp_path / "m.safetensors")
    loaded = load(tmp_path / "m.safetensors").model
    assert loaded.architecture == model.architecture
    assert torch.equal(loaded.evidence.weight, model.evidence.weight)


@pytest.mark.parametrize(
    "words", [{"summary": 3}, {"lags": (0,)}, {"summary": 3, "lags": (1, 1)}, {"summary": -1}]
)
def test_sizes_that_cannot_be_are_refused(words: dict) -> None:
    with pytest.raises(ValueError, match=r"summary|lags"):
        Architecture(("a", "b"), **words)
