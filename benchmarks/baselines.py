"""Alternatives that a user could run, on one thread and in one run: streams of live audio per core.

    pip install -e '.[baselines]' onnxruntime; pip install --no-deps silero-vad
    python benchmarks/baselines.py

silero-vad answers another question (is there speech?) and is the usual net beside a call; it is here for scale. Keras
is the paper's own way to answer ours: the whole 30 s window through the net again at every interval. Missing packages
are named and left out. Processor time throughout, in turns with the reference layer (see inference.py).
"""

import argparse
import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import torch
from inference import Calls, Reference, measure, model, processor, speech
from numpy.typing import NDArray

from streamcab.errors import ConfigError
from streamcab.nn.backend import make_backend
from streamcab.nn.cabcnn import CabCnn

Step = tuple[str, Callable[[], object], float]
"""Name, one step, and the seconds of live audio that a step answers, over all its streams."""


class Pass:
    """One pass of streamcab's engine over what was captured before."""

    def __init__(self, calls: Calls, h: int) -> None:
        self._calls, self._h = calls, h

    def __call__(self) -> None:
        self.capture()
        self._calls.advance()

    def capture(self) -> None:
        """Do the source's work."""
        self._calls.capture(self._h)


CHUNK, RATE = 512, 16000
WINDOW_S = 30.0


def silero() -> Iterator[Step]:
    """Run silero-vad from its own wheel, at 16 kHz: 32 ms a step."""
    spec = find_spec("silero_vad")
    if spec is None or not spec.submodule_search_locations:
        print("silero-vad left out: not installed")
        return
    data = Path(spec.submodule_search_locations[0]) / "data"
    for batch in (1, 64):
        audio = np.stack([speech(RATE, 10)[i * 100 :][: 100 * CHUNK] for i in range(batch)])
        seconds = batch * CHUNK / RATE
        if find_spec("onnxruntime") is None:
            print("silero-vad ONNX left out: onnxruntime is not installed")
        else:
            yield f"silero-vad, ONNX, batch {batch}", _silero_onnx(data / "silero_vad.onnx", audio), seconds
        yield f"silero-vad, JIT, batch {batch}", _silero_jit(data / "silero_vad.jit", audio), seconds


def _chunks(audio: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    at = 0
    while True:
        yield np.ascontiguousarray(audio[:, at : at + CHUNK])
        at = (at + CHUNK) % audio.shape[1]


def _silero_onnx(path: Path, audio: NDArray[np.float32]) -> Callable[[], object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    state = np.zeros((2, len(audio), 128), np.float32)
    context = np.zeros((len(audio), 64), np.float32)
    chunks, rate = _chunks(audio), np.array(RATE, np.int64)

    def step() -> object:
        nonlocal state, context
        x = np.concatenate((context, next(chunks)), 1)
        out, state = session.run(None, {"input": x, "state": state, "sr": rate})
        context = x[:, -64:]
        return out

    return step


def _silero_jit(path: Path, audio: NDArray[np.float32]) -> Callable[[], object]:
    net = torch.jit.load(str(path)).eval()
    chunks = _chunks(audio)

    def step() -> object:
        with torch.inference_mode():
            return net(torch.from_numpy(next(chunks)), RATE)

    return step


def keras_window(net: CabCnn) -> Iterator[Step]:
    """Run the same layers in Keras over the whole window, for one interval of one stream."""
    if find_spec("keras") is None:
        print("Keras left out: not installed")
        return
    import keras
    import keras_net

    arch = net.architecture
    intervals = round(WINDOW_S / arch.interval_s)
    whole = keras_net.build(arch, intervals)
    keras_net.put(net, whole)
    audio, votes = torch.randn(1, intervals * arch.interval, 1), torch.ones(1, intervals)

    def step() -> object:
        with torch.inference_mode():
            return whole([audio, votes], training=False)

    yield f"Keras {keras.__version__}, 30 s again each interval", step, arch.interval_s


def ours(net: CabCnn) -> Iterator[Step]:
    """Run the whole engine from 16 kHz: front end, gate, net and window."""
    for name in ("torch", "openvino"):
        for batch, h in ((1, 1), (64, 1), (64, 8)):
            try:
                calls = Calls(net, make_backend(name, net, batch), batch, RATE)
            except ConfigError as error:
                print(f"streamcab on {name} left out: {error}")
                break
            seconds = batch * h * net.architecture.interval_s
            yield f"streamcab, {name}, batch {batch}, {h * 25} ms a pass", Pass(calls, h), seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Streams that a core carries, here and elsewhere.")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each row")
    args = parser.parse_args()
    torch.set_num_threads(1)
    net, whose = model()
    reference = Reference()
    print(f"one thread, {whose} for streamcab; reference layer {reference.seconds() * 1e3:.2f} ms\n")
    print(f"{'':46}{'ms a step':>10}{'streams':>9}{'ms / reference layer':>22}")
    for rows in (ours(net), silero(), keras_window(net)):
        for name, step, seconds in rows:
            took, beside, _ = measure(step, args.seconds, reference)
            if isinstance(step, Pass):
                # Filling the rings is the source's work: measured alone and taken off.
                took -= float(np.median([processor(step.capture) for _ in range(20)]))
            print(f"{name:46}{took * 1e3:10.3f}{seconds / took:9.2f}{took / beside:22.3f}", flush=True)


if __name__ == "__main__":
    main()
