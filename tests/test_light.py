"""Serving needs no torch: where it cannot be imported, answers are the same, and torch's within 1e-5."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from speech import LONG_STAGES, SMALL_STAGES, talk, tiny_model

from streamcab.classifier import Classifier
from streamcab.nn import checkpoint
from streamcab.nn.cabcnn import CabCnn
from streamcab.nn.checkpoint import Checkpoint
from streamcab.nn.geometry import BlockShape
from streamcab.nn.weights import Weights, shapes

ROOT = Path(__file__).parents[1]
CLIP = ROOT / "streamcab" / "clips" / "uk-1.ogg"
WITHOUT = "import sys; sys.modules.update(torch=None, scipy=None)\n"
"""None stands for a module that cannot be imported."""
NETS = {
    "small": {"stages": SMALL_STAGES, "classifiers": 8},
    "long": {"stages": LONG_STAGES, "classifiers": 8},
    "trunk": {
        "stages": SMALL_STAGES,
        "classifiers": 8,
        "trunk": (BlockShape(3, 2, 1), BlockShape(2, 1, 0)),
        "trunk_hidden": 9,
        "other": True,
    },
    "moments": {"stages": SMALL_STAGES, "classifiers": 8, "summary": 3, "lags": (0, 2)},
    "phones": {
        "stages": SMALL_STAGES,
        "classifiers": 8,
        "summary": 3,
        "phones": 5,
        "reach": 2,
        "phone_hidden": 7,
    },
}


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python without torch."""
    words = [sys.executable, "-c", WITHOUT + code, *arguments]
    return subprocess.run(words, capture_output=True, text=True, timeout=170, check=False)


def command(*arguments: str) -> str:
    """What a command without torch says."""
    done = run("from streamcab.cli import main; main()", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_serving_path_imports_no_torch() -> None:
    # Blocked it would be an error; this also sees an import that an `except` hides.
    code = """
import builtins
real = builtins.__import__
def watch(name, *rest, **kw):
    assert name.partition(".")[0] not in ("torch", "scipy"), name
    return real(name, *rest, **kw)
builtins.__import__ = watch
import numpy as np, streamcab
import streamcab.daemon.loop, streamcab.source.rtp, streamcab.record.recorder, streamcab.bench.loss
clf = streamcab.load()
x = np.sin(np.arange(16000) / 3).astype(np.float32)
clf.classify(x, 8000)
stream = clf.stream(8000)
stream.push(x), stream.finish()
"""
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_classify_answers_as_torch_does() -> None:
    light = json.loads(command("classify", "--json", str(CLIP)))
    from streamcab.source.file import read_audio

    clf = Classifier(checkpoint.load(checkpoint.bundled()), backend="torch")
    heavy = clf.classify(*read_audio(CLIP), name=str(CLIP))
    assert light["top"] == heavy.top
    np.testing.assert_allclose(list(light["probs"].values()), list(heavy.probs.values()), rtol=0, atol=1e-5)
    assert light["model"] == heavy.model


def test_verify_and_listen_work_without_torch() -> None:
    assert "(equal within 1e-05)" in command("verify", str(CLIP))
    said = command("listen", "--file", str(CLIP), "--fast", "--json", "--endpoint", "tcp://127.0.0.1:*")
    last = json.loads(said.splitlines()[-1])
    assert last["state"] == "ended"
    whole = json.loads(command("classify", "--json", str(CLIP)))
    assert last["heard_s"] == pytest.approx(whole["heard_s"], abs=0.1)


CASES = {
    *(("trunk", rate) for rate in (8000, 11025, 16000, 22050, 44100, 48000)),
    *((n, 16000) for n in NETS),
}


@pytest.mark.parametrize(("name", "rate"), sorted(CASES))
def test_streamed_and_whole_are_torchs_at_every_rate(name: str, rate: int) -> None:
    model = tiny_model(3, **NETS[name])
    x = talk(3, rate, seed=5)
    light = Classifier(Checkpoint(model.weights), backend="openvino")
    heavy = Classifier(Checkpoint(model), backend="torch")
    whole = heavy.classify(x, rate)
    want, other = whole.probs, whole.other
    got = light.classify(x, rate)
    assert got.probs == pytest.approx(want, abs=1e-5)
    assert (got.other, name == "trunk") == (pytest.approx(other, abs=1e-5), other is not None)
    stream = light.stream(rate)
    cuts = [0, *np.sort(np.random.default_rng(rate).integers(0, len(x), 7)).tolist(), len(x)]
    told = [p for a, b in pairwise(cuts) for p in stream.push(x[a:b])]
    end = [*told, *stream.finish()][-1]
    if name in ("small", "long", "trunk"):
        # Evidence counts whole seconds of a window; the mean of c_t is the same to the interval.
        assert end.probs == pytest.approx(want, abs=1e-5)
        assert end.other == pytest.approx(other, abs=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_weights_and_torchs_modules_are_made_of_each_other(name: str) -> None:
    model = tiny_model(2, **NETS[name])
    state = model.state_dict()
    assert shapes(model.architecture) == {
        k: (np.dtype(str(v.dtype).removeprefix("torch.")), tuple(v.shape)) for k, v in state.items()
    }
    weights = model.weights
    assert isinstance(weights, Weights)
    back = CabCnn.of(weights).state_dict()
    assert all((back[k] == v).all() for k, v in state.items())
    assert CabCnn.of(model) is model
