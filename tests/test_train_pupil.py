"""What a pupil is taught by: errors that stay weigh more than errors that pass, and the answer is the mean of c_t."""

import numpy as np
import pytest
import torch
from speech import talk
from streamcab_train.pupil import (
    BANDS_A_HALF,
    Pupil,
    Weights,
    batch_of,
    disturbed,
    frame_loss,
    log_mel,
    mean_answer,
    soften,
)
from streamcab_train.rows import Row

from streamcab.nn.cabcnn import Architecture, mean_of_votes
from streamcab.nn.geometry import BlockShape, StageShape

ARCH = Architecture(
    ("us", "uk"),
    rate=8000,
    pooled_rate=8000,
    stages=(
        StageShape(6, 16, 16, 8, 0.0),
        StageShape(6, 6, 10, 5, 0.0),
        StageShape(10, 6, 10, 5, 0.0),
    ),
    classifiers=4,
    trunk=(BlockShape(3, 1, 1),),
    trunk_hidden=8,
)


def row(rng: np.random.Generator, width: int, *, of_class: bool, length: int = 80) -> Row:
    target = np.array([1.0, 0.0], np.float32)
    return Row(
        rng.standard_normal((length, width)).astype(np.float32),
        rng.standard_normal((length, 5)).astype(np.float32),
        rng.random(length) < 0.7,
        target,
        target if of_class else None,
    )


def test_an_error_that_stays_weighs_more_than_one_that_passes() -> None:
    stays = torch.ones(1, 80, 4)
    passes = stays * torch.tensor([1.0, -1.0]).repeat(40)[None, :, None]
    assert frame_loss(stays, 2, 40) > 5 * frame_loss(passes, 2, 40)


def test_what_tells_accents_weighs_more_than_what_is_principal() -> None:
    error = torch.zeros(1, 80, 4)
    principal, telling = error.clone(), error.clone()
    principal[..., :2], telling[..., 2:] = 1, 1
    assert frame_loss(telling, 2, 40) > 2 * frame_loss(principal, 2, 40)


def test_the_answer_is_what_is_served() -> None:
    c = torch.rand(2, 50, 3, generator=torch.Generator().manual_seed(0)).softmax(-1)
    votes = (torch.arange(50) % 3 > 0).float().expand(2, 50)
    torch.testing.assert_close(mean_answer(c, votes), mean_of_votes(c, votes), atol=1e-3, rtol=0)


def test_rows_of_a_class_come_first() -> None:
    rng = np.random.default_rng(0)
    mixed = [row(rng, 3, of_class=k % 2 == 1) for k in range(4)]
    batch = batch_of(mixed)
    np.testing.assert_array_equal(batch.x[0], mixed[1].x)
    assert batch.label is not None
    assert (len(batch.label), len(batch.opinion)) == (2, 4)
    assert batch_of([mixed[0]]).label is None


@pytest.mark.parametrize("distilled", [False, True])
def test_steps_lower_the_loss_and_a_distilled_pupil_keeps_its_distiller(distilled: bool) -> None:
    torch.manual_seed(0)
    rng, pupil = np.random.default_rng(0), Pupil(ARCH, 3, 5)
    batch = batch_of([row(rng, 10 if distilled else 200, of_class=k < 2) for k in range(4)])
    adam = torch.optim.Adam(pupil.parameters(), lr=3e-3)
    before = {k: v.clone() for k, v in pupil.model.distiller.state_dict().items()}
    totals = []
    for _ in range(25):
        total, told = pupil.losses(batch, Weights(1.0, 1.0, 1.0), distilled=distilled)
        adam.zero_grad()
        total.backward()
        adam.step()
        totals.append(total.item())
    assert totals[-1] < 0.9 * totals[0]
    assert {"frames", "opinion", "label", "linear"} <= told.keys()
    same = [torch.equal(v, before[k]) for k, v in pupil.model.distiller.state_dict().items()]
    assert all(same) == distilled


def test_the_spectrum_of_a_voice_has_two_halves_an_interval() -> None:
    x = torch.from_numpy(talk(1.0, 8000, 0)).view(1, 40, 200) * 10
    bands = log_mel(x, 8000)
    assert bands.shape == (1, 40, 2 * BANDS_A_HALF)
    assert bands.std() > 0.1
    shifted = log_mel(torch.roll(x.flatten(1), -100).view_as(x), 8000)
    # A half of an interval later its second half is the first.
    torch.testing.assert_close(
        shifted[:, 5:30, :BANDS_A_HALF], bands[:, 5:30, BANDS_A_HALF:], atol=1e-4, rtol=0
    )


def test_what_is_disturbed_is_noisy_and_in_places_nothing() -> None:
    torch.manual_seed(0)
    a = 100 + torch.zeros(64, 80, 10)
    b = disturbed(a)
    nothing = (b.abs() < 10).all(-1)
    assert 0 < nothing.sum() < 0.2 * nothing.numel()
    assert 0.1 < (b - a)[~nothing].std() < 0.2


def test_a_softened_acb_is_less_sure_and_thinks_the_same() -> None:
    torch.manual_seed(0)
    acb = Pupil(ARCH, 3, 5).model.acb
    h = 3 * torch.randn(200, 10)
    before = acb.classifiers(h)
    sure = acb(h)[0].max(-1).values.mean()
    soften(acb, 4.0, 2.0)
    torch.testing.assert_close(acb.classifiers(h) * 4, before)
    assert acb(h)[0].max(-1).values.mean() < sure
