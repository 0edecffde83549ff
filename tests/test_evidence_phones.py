"""Phones: what is summed up in blocks is what a list gives; batch is alone; streamed is offline; old files load."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from searches import examples
from speech import SMALL_STAGES, tiny_model
from streamed import check_streamed_evidence, talk_of

from streamcab.evidence.accumulator import Spans, counted
from streamcab.evidence.phones import PRIOR_S, Phones, Recogniser, phone_sounds
from streamcab.inference.window import window_of
from streamcab.nn.cabcnn import Architecture, CabCnn
from streamcab.nn.checkpoint import Checkpoint, load, save

K, PHONES, REACH = 3, 5, 2
SPANS = Spans(40, 16, 100)


def telling(seed: int = 4) -> CabCnn:
    """A net whose phones are sure of themselves, and whose evidence moves its answers a lot."""
    sizes = {"summary": K, "phones": PHONES, "reach": REACH, "phone_hidden": 6}
    model = tiny_model(seed, stages=SMALL_STAGES, classifiers=8, **sizes)
    assert model.evidence is not None
    assert model.phones is not None
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, t in [*model.phones.named_parameters(), ("usual", model.phones.usual)]:
            t.copy_(torch.randn(t.shape, generator=draw) * (1 if name == "usual" else 0.7))
        model.phones.deviation.copy_(torch.rand(K, generator=draw) + 0.5)
        model.evidence.weight.copy_(3 * torch.randn(model.evidence.weight.shape, generator=draw))
    return model


def by_hand(model: CabCnn, u: NDArray, counts: NDArray, oldest: int = 0) -> tuple[NDArray, int]:
    """Interval by interval, in torch and double precision, of those from `oldest` on."""
    layer = model.phones
    n, sums, known = np.zeros(PHONES), np.zeros((PHONES, K)), 0
    for t in range(oldest, len(u) - REACH):
        if not counts[t]:
            continue
        around = [u[s] if s >= 0 and counts[s] else np.zeros(K) for s in range(t - REACH, t + REACH + 1)]
        with torch.no_grad():
            p = (
                torch.softmax(layer(torch.tensor(np.concatenate(around), dtype=torch.float32)), 0)
                .double()
                .numpy()
            )
        n, sums, known = n + p, sums + p[:, None] * u[t], known + 1
    away = [sums[i] - n[i] * layer.usual[i].double().numpy() for i in range(1, PHONES)]
    voice = np.sum(away, 0) / n[1:].sum() if known else np.zeros(K)
    found = [
        (a - m * voice) / (m + PRIOR_S / model.architecture.interval_s)
        for a, m in zip(away, n[1:], strict=True)
    ]
    return (np.array(found) / layer.deviation.double().numpy()).ravel(), known


@given(n=st.integers(0, 60), seed=st.integers(0, 2**20), share=st.sampled_from([0.0, 0.1, 0.7, 1.0]))
@examples(15, 40)
def test_each_phone_has_the_mean_of_its_intervals(n: int, seed: int, share: float) -> None:
    rng, model = np.random.default_rng(seed), telling()
    u, counts = rng.normal(1, 1, (n, K)).astype(np.float32), rng.random(n) < share
    found, size = phone_sounds(u, counts, Recogniser(model))
    want, known = by_hand(model, u, counts)
    assert size == known
    assert len(found) == model.architecture.evidence == (PHONES - 1) * K
    np.testing.assert_allclose(found, want, atol=1e-4)


@examples(12, 30)
@given(
    length=st.sampled_from([40, 41, 100, 200]),
    steps=st.lists(st.tuples(st.integers(1, 9), st.sampled_from([0, 0, 0, 1, 3, 41, 300])), max_size=40),
    delay=st.integers(0, 3),
    often=st.sampled_from([0.02, 0.7]),
    seed=st.integers(0, 2**20),
)
def test_a_window_holds_the_phones_of_its_whole_blocks(
    length: int, steps: list[tuple[int, int]], delay: int, often: float, seed: int
) -> None:
    rng, model = np.random.default_rng(seed), telling()
    # A slot on each side, busy with other streams.
    window, slot, at = window_of(model, 3, length), np.array([1]), -delay
    everything = np.full((sum(h + gap for h, gap in steps) + 1, K), np.nan, np.float32)
    voted = np.zeros(len(everything), np.bool_)
    for h, gap in steps:
        u, votes = rng.normal(1, 1, (3, h, K)).astype(np.float32), rng.random((3, h)) < often
        u[rng.random((3, h)) < 0.1] = np.nan
        nothing = np.zeros((3, h, 3), np.float32), np.zeros((3, h, 8), np.float32)
        window.add(np.arange(3), np.array([0, at, 7]), *nothing, votes, u)
        for j in range(h):
            if at + j >= 0:
                everything[at + j], voted[at + j] = u[1, j], votes[1, j]
        at += h + gap
        talk = talk_of(voted[: max(at - gap, 0)], length)
        told = len(talk) - REACH
        oldest = max(0, ((told - 1) // 40 - -(-length // 40) + 1) * 40) if told > 0 else 0
        assert window._sums is not None
        found, size = window._sums.read(slot)
        want, known = by_hand(
            model, everything[talk], counted(everything[talk], voted[talk], SPANS.hang), oldest
        )
        assert size[0] == known
        np.testing.assert_allclose(found[0], want, atol=1e-3)


def test_a_stream_among_others_is_what_it_is_alone() -> None:
    rng, recogniser = np.random.default_rng(1), Recogniser(telling())
    u, votes = rng.normal(0, 1, (4, 90, K)).astype(np.float32), rng.random((4, 90)) < 0.8
    together, alone = Phones(4, recogniser, SPANS), Phones(1, recogniser, SPANS)
    together.add(np.arange(4), np.zeros(4, np.int64), u, votes)
    for j in range(90):
        alone.add(np.array([0]), np.array([j]), u[2:3, j : j + 1], votes[2:3, j : j + 1])
    found, want = together.read(np.array([2])), alone.read(np.array([0]))
    assert found[1][0] == want[1][0] > 50
    np.testing.assert_allclose(found[0], want[0], atol=1e-5)


def test_a_reused_slot_is_a_fresh_one_and_nothing_grows() -> None:
    rng, slot, first = np.random.default_rng(0), np.array([0]), np.array([0])
    u, votes = rng.normal(0, 1, (1, 90, K)).astype(np.float32), np.ones((1, 90), np.bool_)
    recogniser = Recogniser(telling())
    fresh, used = Phones(1, recogniser, SPANS), Phones(1, recogniser, SPANS)
    size = used.bytes_per_slot
    for k in range(20):
        used.add(slot, first + 90 * k, 5 * u, votes)
    assert used.bytes_per_slot == size
    # 100 intervals touch three blocks, of which the newest may be partly told.
    assert used.read(slot)[1][0] <= 120
    used.reset(slot)
    for one in (fresh, used):
        one.add(slot, first, u, votes)
    np.testing.assert_array_equal(used.read(slot)[0], fresh.read(slot)[0])


@pytest.mark.parametrize("rate", [8000, 44100])
def test_a_streamed_answer_is_the_offline_one(rate: int) -> None:
    check_streamed_evidence(telling(), rate)


def test_a_checkpoint_brings_its_phones_back(tmp_path) -> None:
    model = telling()
    save(Checkpoint(model), tmp_path / "m.safetensors")
    loaded = load(tmp_path / "m.safetensors").model
    assert loaded.architecture == model.architecture
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_a_model_without_phones_says_nothing_of_them() -> None:
    plain = Architecture(("a", "b"), summary=3, lags=(0, 4))
    assert not {"phones", "reach", "phone_hidden"} & plain.to_dict().keys()
    assert Architecture.from_dict(plain.to_dict()) == plain
    assert "phones.out.weight" not in CabCnn(plain).state_dict()


@pytest.mark.parametrize(
    "words",
    [
        {"phones": 5, "phone_hidden": 4},
        {"summary": 3, "phones": 5},
        {"summary": 3, "phones": 1, "phone_hidden": 4},
        {"summary": 3, "lags": (0,), "phones": 5, "phone_hidden": 4},
        {"summary": 3, "phones": 5, "phone_hidden": 4, "reach": -1},
        {"summary": 3, "lags": (0,), "reach": 2},
    ],
)
def test_sizes_that_cannot_be_are_refused(words: dict) -> None:
    with pytest.raises(ValueError, match=r"phones"):
        Architecture(("a", "b"), **words)
