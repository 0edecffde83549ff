"""A distiller in whole numbers: the same bits by any arithmetic, in any chunks and any company."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from speech import SMALL_STAGES, SMALL_TRUNK, tiny_model

from streamcab.errors import CheckpointError
from streamcab.nn import checkpoint, integers
from streamcab.nn.backend.torch import TorchBackend
from streamcab.nn.cabcnn import CabCnn
from streamcab.nn.checkpoint import Checkpoint
from streamcab.nn.distiller import FOREVER, bytes_of
from streamcab.nn.weights import Weights

MODEL = tiny_model(5, stages=SMALL_STAGES, classifiers=8, voice=6, integers=True, **SMALL_TRUNK)

Floats = NDArray[np.float32]


def samples(intervals: int, seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    loud = rng.choice([0.05, 1.0, 9.0], intervals).repeat(MODEL.architecture.interval)
    return (rng.standard_normal(len(loud)) * loud).astype(np.float32)


def changed(name: str, value: NDArray[np.float32]) -> Checkpoint:
    arrays = {**MODEL.weights.arrays, name: value}
    return Checkpoint(Weights(MODEL.architecture, arrays))


def test_a_sample_is_its_two_bytes() -> None:
    n = np.arange(integers.LOWEST - 20, integers.HIGHEST + 20)
    found = bytes_of(torch.from_numpy(n.astype(np.float32)) * integers.SAMPLE).numpy() / integers.SAMPLE
    assert (found.sum(-1) == n.clip(integers.LOWEST, integers.HIGHEST)).all()
    coarse = found[:, 0] / integers.COARSE
    assert (coarse == np.rint(coarse)).all()
    assert (coarse.min(), coarse.max()) == (-128, 127)
    assert np.abs(found[:, 1]).max() <= integers.COARSE / 2


def test_in_double_precision_a_stage_passes_on_the_same_bits() -> None:
    x = torch.from_numpy(samples(60))[None]
    double = CabCnn.of(MODEL.weights).double()
    y, wide = MODEL.distiller.heard(x), double.distiller.heard(x.double())
    with torch.inference_mode():
        for one, other in zip(MODEL.distiller.stages, double.distiller.stages, strict=True):
            y, wide = one(y), other(wide)
            assert torch.equal(y.double(), wide)
            assert 20 < len(y.unique()) <= integers.MOST + 1


def test_chunks_and_company_change_no_bit_of_what_a_stream_keeps() -> None:
    x, interval = samples(48), MODEL.architecture.interval
    kept = []
    for others, sizes in ((0, [1]), (4, [8, 4, 2]), (300, [3, 5])):
        backend = TorchBackend(MODEL, 1 + others)
        slots = np.arange(1 + others)
        backend.reset(slots)
        at = 0
        while at < 48:
            h = min(sizes[at % len(sizes)], 48 - at)
            rows = np.tile(x[at * interval : (at + h) * interval], (1 + others, 1))
            rows[1:] *= 0.3
            backend.step(slots, rows, np.full(len(slots), at), np.full(len(slots), FOREVER))
            at += h
        state = backend.state(0).numpy()
        kept.append(state[: len(state) - backend._further])
    assert np.array_equal(kept[0], kept[1])
    assert np.array_equal(kept[0], kept[2])


@pytest.mark.parametrize("sizes", [[8], [1, 4, 2]])
def test_bytes_and_floats_are_the_same_to_the_bit(sizes: list[int]) -> None:
    pytest.importorskip("openvino")
    from streamcab.nn.backend.openvino_net import OpenVinoNet, bytes_are_exact

    if not bytes_are_exact():
        pytest.skip("products of bytes are not exact on this processor")
    x, interval, arch = samples(40), MODEL.architecture.interval, MODEL.architecture
    rows, answers, clips = [], [], []
    for in_bytes in (True, False):
        net = OpenVinoNet(MODEL)
        net._in_bytes = in_bytes
        backend, slot, got, at, turn = net.backend(2), np.ones(1, np.intp), [], 0, 0
        backend.reset(slot)
        while at < 40:
            h = min(sizes[turn % len(sizes)], 40 - at)
            part = x[None, at * interval : (at + h) * interval]
            step = backend.step(slot, part, np.array([at]), np.array([FOREVER]))
            got.append(np.concatenate(step, 2)[0])
            at, turn = at + h, turn + 1
        row = backend.state(1)[0]
        assert np.array_equal(row, row.clip(0, integers.MOST).round())
        rows.append(row)
        answers.append(np.concatenate(got)[arch.delay :])
        clips.append(net.clip(x))
    assert np.array_equal(*rows)
    np.testing.assert_allclose(answers[0], answers[1], rtol=0, atol=1e-6)
    np.testing.assert_allclose(clips[0], clips[1], rtol=0, atol=1e-6)


def test_a_processor_that_cuts_sums_off_computes_in_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    from streamcab.nn.backend import openvino_net

    monkeypatch.setattr(openvino_net, "bytes_are_exact", lambda: False)
    net, x = openvino_net.OpenVinoNet(MODEL), samples(20)
    assert not net._in_bytes
    np.testing.assert_allclose(net.clip(x), MODEL.clip(x), rtol=0, atol=1e-5)


def test_a_checkpoint_holds_whole_numbers_or_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    checkpoint.save(Checkpoint(MODEL), path)
    assert checkpoint.load(path).architecture == MODEL.architecture
    weight, bias = MODEL.weights.layer("distiller.stages.1")
    for name, value in (("weight", weight * np.float32(1.001)), ("bias", bias + np.float32(1e-4))):
        checkpoint.save(changed(f"distiller.stages.1.{name}", value), path)
        with pytest.raises(
            CheckpointError, match=r"distiller\.stages\.1 holds a (weight|bias) that is no whole"
        ):
            checkpoint.load(path)


def test_a_file_without_integers_says_nothing_of_them() -> None:
    floats = replace(MODEL.architecture, integers=False)
    assert "integers" not in floats.to_dict()
    assert MODEL.architecture.to_dict()["integers"] is True
    with pytest.raises(ValueError, match="integers is 1"):
        replace(floats, integers=1)  # type: ignore[arg-type]


def test_sums_that_float32_does_not_hold_are_refused() -> None:
    weight = np.full((2, 600, 8), integers.WEIGHT / 128, np.float32)
    with pytest.raises(ValueError, match="sums that float32 does not hold"):
        integers.check(weight, np.zeros(2, np.float32), first=False)
    integers.check(weight[:, :32], np.zeros(2, np.float32), first=False)
