"""Sounds, codecs and pieces for the speech detector's training: labels stay where the speech is."""

import numpy as np
import pytest
import sounds as kept_out

pytest.importorskip("torch")
pytest.importorskip("av")

from streamcab_train.instruments import RATE
from streamcab_train.material import INTERVAL, Clip, Material
from streamcab_train.mixtures import (
    LENGTH,
    another_voice,
    babble,
    degrade,
    microphone,
    piece,
    voiced_power,
)
from streamcab_train.phone_codecs import CODERS, amr, g722, opus
from streamcab_train.sounds import MAKERS


def clip(name: str) -> Clip:
    x = kept_out.clip(name)
    x = x[: len(x) // INTERVAL * INTERVAL]
    power = (x.reshape(-1, INTERVAL) ** 2).mean(1)
    return Clip(x.astype(np.float32), (power > 10**-2.5 * power.max()).astype(np.float32))


MATERIAL = Material([clip("us-1"), clip("uk-1")], [kept_out.music(15, 4).astype(np.float32)])


@pytest.mark.parametrize("name", MAKERS)
def test_a_maker_gives_so_many_samples_of_unit_power_that_its_seed_decides(name: str) -> None:
    a, b = (MAKERS[name](5 * RATE, np.random.default_rng(3)) for _ in range(2))
    assert a.shape == (5 * RATE,)
    np.testing.assert_array_equal(a, b)
    assert np.isfinite(a).all()
    assert a.std() == pytest.approx(1, abs=0.1)
    assert (MAKERS[name](5 * RATE, np.random.default_rng(4)) != a).any()


@pytest.mark.parametrize("coder", dict.fromkeys(CODERS), ids=lambda c: getattr(c, "__qualname__", "?"))
def test_a_codec_keeps_length_and_place(coder: object) -> None:
    x = np.zeros(3 * RATE)
    x[RATE : 2 * RATE] = 0.3 * kept_out.clip("us-1")[RATE : 2 * RATE] / kept_out.clip("us-1").std()
    y = coder(x, np.random.default_rng(0))  # type: ignore[operator]
    assert y.shape == x.shape
    assert np.abs(y).max() <= 1.2

    def lag(of: np.ndarray) -> int:
        likeness = np.fft.irfft(np.fft.rfft(of, 8 * RATE) * np.conj(np.fft.rfft(x, 8 * RATE)))
        return int((likeness.argmax() + 4 * RATE) % (8 * RATE) - 4 * RATE)

    assert abs(lag(y)) <= INTERVAL // 4
    assert (y[: RATE - 800] ** 2).mean() < 0.01 * (y[RATE : 2 * RATE] ** 2).mean()


def test_codecs_of_low_rate_are_heard() -> None:
    x = 0.2 * kept_out.clip("uk-1")[: 2 * RATE] / kept_out.clip("uk-1").std()
    for coder in (amr, g722, opus):
        y = coder(x, np.random.default_rng(0))
        assert np.abs(x - y).max() > 0
        assert np.corrcoef(x, y)[0, 1] > 0.5


def test_another_voice_is_said_where_the_label_says() -> None:
    source, lengths = clip("us-2"), set()
    for seed in range(12):
        found = another_voice(source, np.random.default_rng(seed))
        lengths.add(len(found.x))
        assert found.x.shape == (INTERVAL * len(found.speech),)
        power = (found.x.reshape(-1, INTERVAL) ** 2).mean(1)
        assert power[found.speech > 0.5].mean() > 30 * power[found.speech < 0.5].mean()
    assert len(lengths) > 3


def test_a_microphone_colours_and_moves_nothing() -> None:
    x = np.zeros(4000)
    x[2000] = 1
    y = microphone(x, np.random.default_rng(0))
    assert np.abs(y).argmax() == 2000
    gain = 20 * np.log10(np.abs(np.fft.rfft(y)))
    assert -10.1 < gain.min() < gain.max() < 10.1
    assert gain.max() - gain.min() > 3


def test_babble_is_steadier_than_a_voice() -> None:
    x = babble(MATERIAL.speech, np.random.default_rng(0), 8 * RATE)

    def swing(of: np.ndarray) -> float:
        power = (of[: 7 * RATE].reshape(-1, INTERVAL) ** 2).mean(1)
        return float(power.std() / power.mean())

    assert x.std() == pytest.approx(1)
    assert swing(x) < 0.7 * swing(np.tile(MATERIAL.speech[0].x.astype(np.float64), 3))


def test_pieces_are_of_every_kind_and_their_labels_lie_on_what_is_said() -> None:
    rng, kinds, inside, outside = np.random.default_rng(5), set(), [], []
    for _ in range(40):
        p = piece(MATERIAL, rng)
        assert p.x.shape == (LENGTH,)
        assert p.speech.shape == (LENGTH // INTERVAL,)
        assert np.abs(p.x).max() <= 1
        assert np.array_equal(p.x * 32768, np.rint(p.x * 32768))
        kinds.add(p.kind.split("+")[0])
        assert p.speech.any() == p.kind.startswith("speech")
        if p.kind == "speech":
            power = (p.x.reshape(-1, INTERVAL) ** 2).mean(1)
            inside.append(power[p.speech > 0.5].mean())
            outside.append(power[p.speech < 0.5].mean())
    assert {"speech", "recorded"} < kinds
    assert len(kinds) > 6
    assert np.median(np.array(inside) / np.maximum(outside, 1e-12)) > 2


def test_pieces_of_sounds_alone_are_by_the_makers_asked_for() -> None:
    rng = np.random.default_rng(6)
    found = {piece(MATERIAL, rng, ("wind", "rain")).kind for _ in range(20)}
    assert found <= {"recorded", "babble", "wind", "rain", "wind+", "rain+"}
    assert len(found) > 2


def test_a_telephone_keeps_the_level_within_reason() -> None:
    x = 0.1 * kept_out.white(10, 1)
    for seed in range(20):
        y = degrade(x, np.random.default_rng(seed))
        assert 0.02 < voiced_power(y.astype(np.float64)) / voiced_power(x) < 2
