"""Backends: whichever computes, a stream is answered as its whole clip is, from any slot, in any company."""

import locale
import os
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from searches import examples
from speech import SMALL_STAGES, SMALL_TRUNK, naive_net, tiny_model

import streamcab.nn.backend
from streamcab.errors import ConfigError, InstallError
from streamcab.nn import checkpoint
from streamcab.nn.acb import WIDE, fold
from streamcab.nn.backend import Backend, make_backend, make_runtime
from streamcab.nn.backend.cuda import CudaBackend
from streamcab.nn.backend.torch import TorchBackend
from streamcab.nn.cabcnn import CabCnn
from streamcab.nn.distiller import FOREVER
from streamcab.nn.geometry import StageShape

SLOTS = 7
CLOSE = 1e-5
PAPER = tiny_model(1)
SMALL = tiny_model(2, stages=SMALL_STAGES, classifiers=8, summary=5, lags=(0, 2))
ODD = tiny_model(
    3,
    stages=(
        StageShape(4, 3, 3, 2, 0.0),
        StageShape(5, 2, 1, 1, 0.0),
        StageShape(6, 5, 2, 2, 0.0),
        StageShape(7, 4, 7, 5, 0.0),
    ),
    classifiers=3,
    hidden=(5,),
    attention=(),
)
"""Pooling that overlaps by other than half, or not at all; layers that are missing."""

Floats = NDArray[np.float32]


def on_torch(model: CabCnn) -> TorchBackend:
    return TorchBackend(model, SLOTS)


def in_one_copy(model: CabCnn) -> TorchBackend:
    """The way to a GPU, as far as it goes without one."""
    backend = TorchBackend(model, SLOTS)
    backend._on_cpu = False
    return backend


def on_openvino(model: CabCnn) -> Backend:
    from streamcab.nn.backend.openvino_net import OpenVinoNet

    return OpenVinoNet(model).backend(SLOTS)


def on_two_threads(model: CabCnn) -> Backend:
    from streamcab.nn.backend.openvino_net import OpenVinoNet

    return OpenVinoNet(model, threads=2).backend(SLOTS)


def as_on_cuda(model: CabCnn) -> CudaBackend:
    """Everything but the graph itself: without a GPU, what would be recorded is done each time."""
    return CudaBackend(model, SLOTS, "cpu", record=lambda work: work)


MAKERS = {
    "torch": on_torch,
    "torch-one-copy": in_one_copy,
    "cuda-unrecorded": as_on_cuda,
    "openvino": on_openvino,
    "openvino-2-threads": on_two_threads,
}
TRUNK = tiny_model(4, stages=SMALL_STAGES, classifiers=8, voice=6, other=True, **SMALL_TRUNK)
WHOLE = tiny_model(5, stages=SMALL_STAGES, classifiers=8, voice=6, integers=True, **SMALL_TRUNK)
MODELS = {"paper": PAPER, "small": SMALL, "odd": ODD, "trunk": TRUNK, "integers": WHOLE}
_MADE: dict[tuple[str, str], Backend] = {}


@pytest.fixture(scope="module", params=MAKERS)
def kind(request: pytest.FixtureRequest) -> str:
    """The name of a way to compute; skipped where it is not installed."""
    if request.param.startswith("openvino") and find_spec("openvino") is None:
        pytest.skip("openvino is not installed: pip install streamcab")
    name: str = request.param
    return name


def used(kind: str, model: str) -> Backend:
    """A backend that has served others before, as in a daemon of hours."""
    if (kind, model) not in _MADE:
        _MADE[kind, model] = MAKERS[kind](MODELS[model])
    return _MADE[kind, model]


def clip(model: CabCnn, intervals: int, seed: int) -> Floats:
    return (
        np.random.default_rng(seed).standard_normal(intervals * model.distiller.interval).astype(np.float32)
    )


def offline(model: CabCnn, x: Floats) -> Floats:
    """c, attention and u of a whole clip, side by side: (K, all of an answer)."""
    with torch.inference_mode():
        return model.answers(torch.from_numpy(x)[None])[0].numpy()


def step(
    backend: Backend, model: CabCnn, clips: list[Floats], slots: list[int], at: list[int], h: int
) -> Floats:
    """h intervals of each clip from its interval `at` on: (B, h, all of an answer)."""
    interval = model.distiller.interval
    x = np.zeros((len(clips), h * interval), np.float32)
    end = np.full(len(clips), FOREVER)
    for i, whole in enumerate(clips):
        part = whole[at[i] * interval : (at[i] + h) * interval]
        x[i, : len(part)] = part
        if (at[i] + h) * interval > len(whole):
            end[i] = len(whole) // interval
    parts = backend.step(np.array(slots), x, np.array(at), end)
    assert all(part.dtype == np.float32 for part in parts)
    return np.concatenate(parts, -1)


def stream(backend: Backend, model: CabCnn, x: Floats, slot: int, sizes: list[int]) -> Floats:
    """A clip by itself, flushed at its end: (K, all of an answer)."""
    backend.reset(np.array([slot]))
    k, delay = len(x) // model.distiller.interval, model.architecture.delay
    out, at, turn = [], 0, 0
    while at < k + delay:
        h = min(sizes[turn % len(sizes)], k + delay - at)
        out.append(step(backend, model, [x], [slot], [at], h)[0])
        at, turn = at + h, turn + 1
    return np.concatenate(out)[delay:]


@pytest.mark.parametrize("name", MODELS)
@examples(5, 12)
@given(lengths=st.lists(st.integers(1, 18), min_size=1, max_size=SLOTS), seed=st.integers(0, 2**32 - 1))
def test_streams_that_join_leave_and_fall_behind_are_answered_as_whole_clips(
    kind: str, name: str, lengths: list[int], seed: int
) -> None:
    model, backend, chance = MODELS[name], used(kind, name), np.random.default_rng(seed)
    delay, n = model.architecture.delay, len(lengths)
    slots = chance.permutation(SLOTS)[:n].tolist()
    clips = [clip(model, k, seed + i) for i, k in enumerate(lengths)]
    at, got = [0] * n, [[] for _ in range(n)]
    backend.reset(np.array(slots))
    while unfinished := [i for i in range(n) if at[i] < lengths[i] + delay]:
        some = [i for i in unfinished if chance.random() < 0.7] or unfinished[:1]
        most = min(lengths[i] + delay - at[i] for i in some)
        h = int(chance.choice([h for h in (1, 2, 3, 4, 8) if h <= most]))
        part = step(
            backend, model, [clips[i] for i in some], [slots[i] for i in some], [at[i] for i in some], h
        )
        for i, answered in zip(some, part, strict=True):
            got[i].append(answered)
            at[i] += h
    for x, parts in zip(clips, got, strict=True):
        np.testing.assert_allclose(np.concatenate(parts)[delay:], offline(model, x), rtol=0, atol=CLOSE)


def test_the_answer_is_that_of_the_specification(kind: str) -> None:
    x = clip(PAPER, 20, 5)
    got = stream(used(kind, "paper"), PAPER, x, 3, [1, 4, 2])
    c, alpha = naive_net(PAPER, x.astype(np.float64))
    np.testing.assert_allclose(got, np.concatenate((c, alpha), 1), rtol=0, atol=CLOSE)


@pytest.mark.parametrize("hidden", [(), (5,), (6, 4)])
def test_classifiers_of_any_depth_answer_label_by_label(hidden: tuple[int, ...]) -> None:
    pytest.importorskip("openvino")
    model = tiny_model(8, stages=SMALL_STAGES, classifiers=3, hidden=hidden)
    x = clip(model, 12, 4)
    np.testing.assert_allclose(make_runtime("openvino", model).clip(x), offline(model, x), rtol=0, atol=CLOSE)


def test_a_used_slot_equals_a_fresh_one(kind: str) -> None:
    fresh = MAKERS[kind](SMALL)
    x = clip(SMALL, 12, 6)
    wanted = stream(fresh, SMALL, x, 2, [1])
    stream(fresh, SMALL, 100 * clip(SMALL, 30, 7), 2, [8])
    np.testing.assert_array_equal(stream(fresh, SMALL, x, 2, [1]), wanted)


@pytest.mark.parametrize("name", ["small", "trunk"])
def test_who_is_given_the_state_of_another_goes_on_as_the_other(kind: str, name: str) -> None:
    model, backend = MODELS[name], used(kind, name)
    begun, others = clip(model, 40, 1), clip(model, 32, 2)
    slots = [5, 1, 4]
    backend.reset(np.array(slots))
    for k in range(0, 32, 8):
        step(backend, model, [begun, others, others], slots, [k, k, k], 8)
    backend.restore(np.array(slots[1:]), backend.state(slots[0]))
    got = step(backend, model, [begun] * 3, slots, [32, 32, 32], 8)
    np.testing.assert_allclose(got[2], got[0], rtol=0, atol=CLOSE)
    np.testing.assert_allclose(got[1], got[0], rtol=0, atol=CLOSE)


def test_loud_and_broken_neighbours_change_nothing(kind: str) -> None:
    backend, x = used(kind, "small"), clip(SMALL, 16, 8)
    wanted = offline(SMALL, x)
    loud, broken = 1e6 * clip(SMALL, 40, 9), np.full_like(clip(SMALL, 40, 0), np.nan)
    slots = [5, 1, 4]
    backend.reset(np.array(slots))
    got = [step(backend, SMALL, [loud, x, broken], slots, [k, k, k], 2)[1] for k in range(0, 20, 2)]
    delay = SMALL.distiller.delay
    np.testing.assert_allclose(np.concatenate(got)[delay : delay + 16], wanted, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("streams", [15, 63, 64, 65, 600])
def test_more_streams_than_fit_into_one_product(streams: int) -> None:
    x = np.random.default_rng(0).standard_normal((streams, 6 * 100)).astype(np.float32)
    with torch.inference_mode():
        c, _ = SMALL(torch.from_numpy(x))
    slots = np.random.default_rng(1).permutation(streams)
    made = [TorchBackend(SMALL, streams), CudaBackend(SMALL, streams, "cpu", record=lambda work: work)]
    for backend in made + ([_lazy(streams)] if find_spec("openvino") else []):
        backend.reset(slots)
        parts = []
        for k, h in ((0, 4), (4, 1), (5, 1), (6, 3)):
            samples = np.zeros((streams, h * 100), np.float32)
            part = x[:, k * 100 : (k + h) * 100]
            samples[:, : part.shape[1]] = part
            end = np.full(streams, FOREVER if k + h <= 6 else 6)
            parts.append(backend.step(slots, samples, np.full(streams, k), end)[0])
        delay = SMALL.distiller.delay
        np.testing.assert_allclose(np.concatenate(parts, 1)[:, delay:], c.numpy(), rtol=0, atol=CLOSE)


def test_steps_of_other_streams_begin_before_one_is_answered(kind: str) -> None:
    backend, n, h = MAKERS[kind](TRUNK), 6, 4
    clips = np.stack([clip(TRUNK, n * h, seed) for seed in range(6)]).reshape(6, n, -1)
    both = [np.array([0, 2, 4]), np.array([5, 1])]
    backend.reset(np.arange(6))
    got: dict[int, list[Floats]] = {slot: [] for slot in range(6)}
    for i in range(n):
        begun = [
            backend.start(s, clips[s, i], np.full(len(s), i * h), np.full(len(s), FOREVER)) for s in both
        ]
        if i == 2:  # a slot is left and used anew while others, and itself, are under way
            backend.reset(np.array([3]))
            kept = backend.state(5)
            backend.restore(np.array([3]), kept)
        for slots, answer in zip(both, begun, strict=True):
            for slot, c in zip(slots.tolist(), np.concatenate(answer(), -1), strict=True):
                got[slot].append(c)
    delay = TRUNK.architecture.delay
    for slot in (0, 1, 2, 4, 5):
        wanted = offline(TRUNK, clips[slot].reshape(-1))[: n * h - delay]
        np.testing.assert_allclose(
            np.concatenate(got[slot])[delay:][: len(wanted) - 8], wanted[:-8], rtol=0, atol=CLOSE
        )


def _lazy(streams: int) -> Backend:
    from streamcab.nn.backend.openvino_net import OpenVinoNet

    return OpenVinoNet(SMALL, threads=3).backend(streams)


def test_shapes_beyond_those_kept_in_mind_are_laid_out_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamcab.nn.backend.torch.LAYOUTS", 2)
    x = clip(SMALL, 40, 10)
    got = stream(TorchBackend(SMALL, 1), SMALL, x, 0, [5, 1, 4, 2, 3])
    np.testing.assert_allclose(got, offline(SMALL, x), rtol=0, atol=CLOSE)


def test_bytes_per_slot_is_what_a_slot_takes(kind: str) -> None:
    backend: Any = MAKERS[kind](TRUNK)
    if kind.startswith("openvino"):
        arrays = [backend._rows, backend._rings._next, *backend._rings._rows]
        assert backend.bytes_per_slot * SLOTS == sum(a.nbytes for a in arrays)
        return
    rows = SLOTS + (type(backend) is CudaBackend)  # and one that fills up
    assert backend.bytes_per_slot * rows == backend._state.nbytes


@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_bf16_changes_little_and_stays_a_probability(name: str) -> None:
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    x = clip(PAPER, 40, 11)
    got = stream(make_backend(name, PAPER, 1, precision="bf16"), PAPER, x, 0, [8, 4])
    wanted = offline(PAPER, x)
    np.testing.assert_allclose(got[:, :3].sum(1), 1, rtol=0, atol=1e-5)
    assert 0 < np.abs(got - wanted).max() < 0.05


@pytest.mark.parametrize("name", MODELS)
def test_in_bf16_a_stream_equals_its_whole_clip_in_bf16(name: str) -> None:
    pytest.importorskip("openvino")
    model = MODELS[name]
    runtime = make_runtime("openvino", model, precision="bf16")
    x = clip(model, 60, 12)
    whole = runtime.clip(x)
    likely = sum(model.architecture.widths[:2])
    assert np.abs(whole - offline(model, x))[:, :likely].max() < 0.1
    for sizes in ([8, 8, 8, 4, 2, 1], [1], [3, 5]):
        got = stream(runtime.backend(1), model, x, 0, sizes)
        np.testing.assert_allclose(got, whole, rtol=0, atol=CLOSE)


def test_auto_is_bf16_only_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    for there in (True, False):
        monkeypatch.setattr("streamcab.nn.backend.openvino_net.has_bf16", lambda there=there: there)
        made: Any = make_runtime("openvino", SMALL, precision="auto")
        assert made._precision == ("bf16" if there else "f32")


@pytest.mark.parametrize("n", [1, WIDE - 1, WIDE, 200])
@pytest.mark.parametrize("name", MODELS)
def test_the_folded_acb_is_the_acb_behind_its_batchnorm(name: str, n: int) -> None:
    model = MODELS[name]
    norm, acb = model.distiller.norm, model.acb
    a = 3 * torch.rand(n, norm.num_features, generator=torch.Generator().manual_seed(n))
    with torch.inference_mode():
        wanted = model.read(norm(a))
        got = fold(norm, acb, model.summary, other=model.other)(a.clone()).T
    torch.testing.assert_close(got, wanted, rtol=0, atol=CLOSE)


def test_training_on_does_not_reach_what_was_folded() -> None:
    model = tiny_model(4, stages=SMALL_STAGES, classifiers=8)
    folded, a = fold(model.distiller.norm, model.acb), torch.rand(5, 12)
    before = folded(a)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1)
    torch.testing.assert_close(folded(a), before, rtol=0, atol=0)


def test_a_backend_that_nobody_holds_compiles_no_further() -> None:
    pytest.importorskip("openvino")
    from streamcab.nn.backend.openvino_net import OpenVinoNet

    began, go_on, asked = Event(), Event(), []

    class Slow(OpenVinoNet):
        def step(self, b: int, h: int) -> Any:
            asked.append((b, h))
            began.set()
            go_on.wait()
            return super().step(b, h)

    others = set(threading.enumerate())
    backend = Slow(SMALL).backend(SLOTS)
    backend.prepare(wait=False)
    mine = set(threading.enumerate()) - others
    began.wait()
    del backend
    go_on.set()
    for thread in mine:
        thread.join()
    assert len(asked) == 1


def test_openvino_is_imported_only_when_chosen() -> None:
    ask = "import sys, streamcab.inference.engine, streamcab.nn.backend; sys.exit('openvino' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", ask], check=False).returncode == 0


def test_auto_is_torch_where_openvino_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamcab.nn.backend, "find_spec", lambda name: None if name == "openvino" else 1)
    assert type(make_backend("auto", SMALL, 1)) is TorchBackend
    with pytest.raises(InstallError, match="pip install streamcab"):
        make_backend("openvino", SMALL, 1)


def test_auto_is_openvino_on_a_cpu() -> None:
    if find_spec("openvino") is None:
        pytest.skip("openvino is not installed: pip install streamcab")
    assert type(make_backend("auto", SMALL, 1)).__name__ == "OpenVinoBackend"


@pytest.mark.parametrize(
    ("word", "value"), [("name", "onnx"), ("precision", "fp8"), ("device", "cuda")], ids=lambda v: str(v)
)
def test_what_cannot_be_is_one_line_that_says_what_can(word: str, value: str) -> None:
    words = {"name": "openvino", "precision": "f32", "device": "cpu", word: value}
    with pytest.raises(ConfigError, match=r"torch|f32"):
        make_backend(net=SMALL, slots=1, **words)


def test_cuda_keeps_the_contract() -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device")
    model = tiny_model(1)
    x = clip(model, 30, 12)
    wanted = offline(model, x)
    backend = make_backend("torch", model, SLOTS, "cuda")
    assert type(backend) is CudaBackend
    got = stream(backend, model, x, 3, [1, 4, 8])
    np.testing.assert_allclose(got, wanted, rtol=0, atol=CLOSE)


def test_clips_of_ever_new_lengths_take_no_memory_for_good() -> None:
    openvino_net = pytest.importorskip("streamcab.nn.backend.openvino_net")
    net = openvino_net.OpenVinoNet(checkpoint.load(checkpoint.find(None)).net)

    def taken(lengths: range) -> float:
        """Megabytes."""
        before = resident()
        for n in lengths:
            net.clip(np.zeros(net.architecture.interval * n, np.float32))
        return (resident() - before) / 1e6

    first = taken(range(260, 180, -1))
    assert taken(range(180, 100, -1)) < first / 3


def resident() -> int:
    """Bytes of memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_the_locale_of_the_process_stays_while_a_net_compiles() -> None:
    from streamcab.nn.backend.openvino_net import OpenVinoNet

    done, seen = Event(), set()

    def watch() -> None:
        while not done.is_set():
            seen.add(locale.setlocale(locale.LC_ALL))

    before, watcher = locale.setlocale(locale.LC_ALL), Thread(target=watch)
    watcher.start()
    for n in range(4):
        OpenVinoNet(tiny_model(n, stages=SMALL_STAGES)).step(2, 1)
    done.set()
    watcher.join()
    assert seen == {before}


LET_GO = """
import gc, os, signal, sys, threading
from streamcab.nn import checkpoint
from streamcab.nn.backend.openvino_net import OpenVinoNet

signal.signal(signal.SIGUSR1, lambda *_: print("heard"))
nets = [OpenVinoNet(checkpoint.load(checkpoint.bundled()).net)]
nets[0].step(2, 1)

def let_go():
    nets.clear()
    gc.collect()

thread = threading.Thread(target=let_go)
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_a_net_may_be_let_go_by_another_thread_and_signals_still_arrive() -> None:
    done = subprocess.run([sys.executable, "-c", LET_GO], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr
