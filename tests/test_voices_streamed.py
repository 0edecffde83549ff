"""Voices of a stream: the same for any chunks and on every backend; with one voice, what it always was."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from speech import SMALL_STAGES, SMALL_TRUNK, Samples, silence, talk, tiny_model

from streamcab.audio.ring import Bank
from streamcab.classifier import Classifier
from streamcab.inference.engine import Engine
from streamcab.inference.window import window_of
from streamcab.message import Prediction
from streamcab.nn.cabcnn import CabCnn
from streamcab.nn.checkpoint import Checkpoint

RATE = 8000
ONE = np.zeros(1, np.intp)


def fickle_model() -> CabCnn:
    """One that nobody taught, which takes any talk for several voices."""
    model = tiny_model(4, stages=SMALL_STAGES, classifiers=8, voice=6, other=True, **SMALL_TRUNK)
    assert model.voice is not None
    with torch.no_grad():
        model.voice.of_interval.weight.mul_(30)
        model.voice.between.fill_(4.0)
        model.voice.drift.fill_(0.05)
        model.voice.within.fill_(0.5)
        model.voice.threshold.fill_(2.0)
    return model


MODEL = fickle_model()


def scene(seed: int) -> Samples:
    """Talks with pauses, and a hole."""
    parts = []
    for i in range(4):
        parts += [talk(3.0, RATE, seed + i, rms=0.05 + 0.1 * i), silence(0.4 * i, RATE)]
    return np.concatenate(parts)


def told(classifier: Classifier, x: Samples, sizes: list[int], voices: int = 3) -> list[Prediction]:
    stream, said, at, turn = classifier.stream(RATE, every_s=0.1, voices=voices), [], 0, 0
    while at < len(x):
        size = sizes[turn % len(sizes)]
        said += stream.push(x[at : at + size])
        at, turn = at + size, turn + 1
    return [*said, *stream.finish()]


@pytest.mark.parametrize("backend", ["torch", "openvino"])
@pytest.mark.parametrize(("sizes", "seed"), [([160], 0), ([7, 4001, 900], 1), ([12345, 40, 333], 2)])
def test_chunks_change_neither_voices_nor_answers(backend: str, sizes: list[int], seed: int) -> None:
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    classifier, x = Classifier(Checkpoint(MODEL), backend=backend), scene(seed)
    one, other = told(classifier, x, [len(x)]), told(classifier, x, sizes)
    assert len(one) == len(other)
    assert len({p.voice for p in one}) > 1
    for a, b in zip(one, other, strict=True):
        assert (a.voice, a.window_s, a.voiced_s, a.state) == (b.voice, b.window_s, b.voiced_s, b.state)
        assert a.probs == pytest.approx(b.probs, abs=1e-5)
        assert a.now == pytest.approx(b.now, abs=1e-5)
        assert a.other == pytest.approx(b.other, abs=1e-5)
        assert a.attention == pytest.approx(b.attention, abs=2e-4)


def test_one_voice_is_to_the_bit_what_a_net_without_voices_says() -> None:
    weights, x = MODEL.weights, scene(1)
    others = {name: a for name, a in weights.arrays.items() if not name.startswith("voice.")}
    bare = replace(weights, architecture=replace(weights.architecture, voice=0), arrays=others)
    for backend in ("torch", "openvino"):
        if find_spec(backend) is None:
            continue
        one, other = (Classifier(Checkpoint(net), backend=backend) for net in (weights, bare))
        a, b = told(one, x, [777], voices=1), told(other, x, [777], voices=3)
        assert [(p.probs, p.now, p.attention, p.voice) for p in a] == [
            (p.probs, p.now, p.attention, p.voice) for p in b
        ]
        assert one.classify(x, RATE).probs == other.classify(x, RATE).probs


def test_the_windows_of_a_daemon_tell_the_voices_of_each_stream_apart() -> None:
    # Streams that begin and end among others, and one whose audio is skipped, as passes that fail leave it.
    clips = [scene(seed) for seed in (0, 2, 3)]
    clips[2][5 * RATE : 5 * RATE + 900] = np.nan
    alone = [_numbers([x], 0)[0] for x in clips]
    assert _numbers(clips, 0) == alone
    assert len({n for numbers in alone for n in numbers}) > 1
    assert _numbers(clips, 4000)[1] == alone[1]


def _numbers(clips: list[Samples], skipped: int) -> list[list[int]]:
    """The voice of each stream after each half second; of the first, so many samples are skipped at 2 s."""
    engine, bank = Engine(MODEL, len(clips)), Bank(RATE, len(clips), 20 * RATE)
    length = MODEL.architecture.intervals(10)
    window = window_of(MODEL, len(clips), length, 3)
    slots = [engine.attach(bank, row) for row in range(len(clips))]
    found: list[list[int]] = [[] for _ in clips]
    for at in range(0, 15 * RATE, RATE // 2):
        for row, x in enumerate(clips):
            if at < len(x):
                bank.write(row, x[at : at + RATE // 2], 0.0)
        if skipped and at == 2 * RATE:
            engine.skip(np.array(slots[:1]), np.array([skipped]))
        for e in engine.advance():
            window.add(e.slots, e.first, e.c, e.alpha, e.votes(True), e.u, e.heard)
        for row, slot in enumerate(slots):
            found[row].append(int(window.read(np.array([slot]), attention=False).voice[0]))
    return found
