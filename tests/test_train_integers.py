"""A distiller in whole numbers, taught what a model in floats says: it learns, goes on after a kill, and serves."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from speech import SMALL_STAGES, SMALL_TRUNK, talk, tiny_model
from streamcab_train import integers as tool
from streamcab_train.context_keys import ContextKeys, read_context
from streamcab_train.copies import Copy, hear, joined
from streamcab_train.whole_distiller import WholeDistiller, ranges

from streamcab.errors import CorpusError
from streamcab.nn import checkpoint
from streamcab.nn.backend import make_runtime
from streamcab.nn.checkpoint import Checkpoint

ROOT = Path(__file__).parents[1]
LABELS = ("us", "uk", "australia")
MODEL = tiny_model(4, labels=LABELS, stages=SMALL_STAGES, classifiers=8, voice=6, **SMALL_TRUNK)


@pytest.fixture(scope="module")
def heard() -> Copy:
    return joined([hear(talk(8, 8000, seed), 8000, MODEL.architecture, None) for seed in range(3)])


@pytest.fixture(scope="module")
def keys() -> ContextKeys:
    return read_context(ROOT / "configs" / "context.toml")


def manifest(folder: Path, accents: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    rows = ["path,accent,speaker"]
    for i, accent in enumerate(accents):
        soundfile.write(folder / f"{i}.wav", talk(3, 8000, i), 8000)
        rows.append(f"{i}.wav,{accent},{i}")
    path = folder / "manifest.csv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_it_comes_nearer_to_what_it_is_taught_by(heard: Copy, tmp_path: Path) -> None:
    told: list[str] = []
    pupil = tool.teach(MODEL, heard, 40, 1, tmp_path / "state.pt", told.append)
    x = torch.from_numpy(heard.x[:240].astype(np.float32).reshape(1, -1))
    votes = torch.from_numpy(heard.votes[None, :240]).float()
    begun = WholeDistiller(MODEL.distiller, ranges(MODEL.distiller, x))
    with torch.no_grad():
        before, after = (tool.loss(MODEL, one, x, votes)[0].item() for one in (begun, pupil))
    assert after < before
    assert len(told) == 1


def test_what_it_learnt_is_what_is_served(heard: Copy, tmp_path: Path) -> None:
    pupil = tool.teach(MODEL, heard, 3, 1, tmp_path / "state.pt", lambda _: None)
    made = tool.converted(Checkpoint(MODEL, {"name": "tiny"}, "abc"), pupil, {"steps": 3})
    checkpoint.save(made, tmp_path / "m.safetensors")
    served = checkpoint.load(tmp_path / "m.safetensors")
    assert served.card["integers"] == {"of": "abc", "steps": 3}
    x = heard.x[:100].astype(np.float32).reshape(-1)
    with torch.no_grad():
        a = pupil(torch.from_numpy(x)[None])
        torch.testing.assert_close(served.model.distiller(torch.from_numpy(x)[None]), a, rtol=0, atol=1e-5)
        c, wanted = served.model(torch.from_numpy(x)[None])[0], MODEL(torch.from_numpy(x)[None])[0]
    assert (c - wanted).abs().mean() < 0.05
    got = make_runtime("auto", served.net).clip(x)[:, : len(LABELS)]
    np.testing.assert_allclose(got, c[0].numpy(), rtol=0, atol=1e-5)


def test_a_killed_training_ends_the_same(
    heard: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "SAVE", 2)

    class KilledError(Exception):
        pass

    def killed(_: object) -> None:
        raise KilledError

    once = tool.teach(MODEL, heard, 4, 1, tmp_path / "once.pt", lambda _: None)
    with pytest.raises(KilledError):
        tool.teach(MODEL, heard, 4, 1, tmp_path / "twice.pt", killed)
    twice = tool.teach(MODEL, heard, 4, 1, tmp_path / "twice.pt", lambda _: None)
    for name, array in once.arrays().items():
        assert np.array_equal(array, twice.arrays()[name]), name


def test_from_recordings_to_a_checkpoint(keys: ContextKeys, tmp_path: Path) -> None:
    data = manifest(tmp_path / "data", ["us", "us", "england", "korean"])
    model = tmp_path / "model.safetensors"
    (tmp_path / "out").mkdir()
    checkpoint.save(Checkpoint(MODEL), model)
    written = tool.run(model, keys, [data], tmp_path / "out", 1, lambda _: None)
    assert checkpoint.load(written).card["integers"]["clips"] == 2  # one of us judges, korean is left out
    with pytest.raises(CorpusError, match="whole numbers already"):
        tool.run(written, keys, [data], tmp_path / "again", 1)
    with pytest.raises(CorpusError, match="no clip teaches"):
        tool.run(model, keys, [manifest(tmp_path / "none", ["korean"])], tmp_path / "out", 1)
