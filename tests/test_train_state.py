"""Where a run stands, as one file: it comes back to the bit, and what is damaged is refused by name."""

import dataclasses

import pytest
import torch
from speech import SMALL_STAGES, tiny_model
from streamcab_train.state import Progress, load_state, save_state

from streamcab.errors import CheckpointError

HISTORY = [{"epoch": 1, "loss": 0.7}, {"epoch": 2, "loss": 0.5}]


def trained(seed=0, steps=2):
    """A model after some steps, and its optimiser."""
    model = tiny_model(seed, stages=SMALL_STAGES)
    adam = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        c, alpha = model(torch.ones(1, 400))
        adam.zero_grad()
        (c.square().sum() + alpha[..., 0].sum()).backward()
        adam.step()
    return model, adam


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture
def saved(tmp_path):
    model, adam = trained()
    best = {k: v * 2 for k, v in model.state_dict().items()}
    path = tmp_path / "state.safetensors"
    save_state(path, Progress(5, 3, (0.5, -1.25), HISTORY), model, best, adam)
    return path, model, best, adam


def test_it_comes_back_to_the_bit(saved):
    path, model, best, adam = saved
    other, its_adam = trained(seed=9, steps=1)
    progress, its_best = load_state(path, other, its_adam)
    assert dataclasses.asdict(progress) == dataclasses.asdict(Progress(5, 3, (0.5, -1.25), HISTORY))
    assert progress.stale == 2
    assert same(other.state_dict(), model.state_dict())
    assert same(its_best, best)
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert same(adam.state[mine], its_adam.state[theirs])


def test_who_goes_on_takes_the_step_that_an_uninterrupted_run_would_have(saved):
    path, model, _, adam = saved
    other, its_adam = trained(seed=9, steps=1)
    load_state(path, other, its_adam)
    for m, a in ((model, adam), (other, its_adam)):
        a.zero_grad()
        m(torch.ones(1, 400))[0].square().sum().backward()
        a.step()
    assert same(other.state_dict(), model.state_dict())


def test_before_the_first_epoch_there_is_no_best(tmp_path):
    model, adam = trained()
    save_state(tmp_path / "s", Progress(), model, {}, adam)
    progress, best = load_state(tmp_path / "s", model, adam)
    assert (progress.best, best, progress.stale) == (None, {}, 0)


def test_what_stood_there_stays_until_the_new_one_is_whole(saved, monkeypatch):
    path, model, best, adam = saved
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_state(path, Progress(6), model, best, adam)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name], "the half-written one keeps the disk full"


@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "another model"])
def test_what_is_damaged_is_refused_by_name(saved, damage):
    path, model, _, adam = saved
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "gone":
        path.unlink()
    else:
        model = tiny_model(0)
        adam = torch.optim.Adam(model.parameters())
    with pytest.raises(CheckpointError, match=path.name) as error:
        load_state(path, model, adam)
    assert "start a new run in another folder" in str(error.value)
    assert "\n" not in str(error.value)
