"""The seam between streams and arithmetic: slots of stream state, and one step for many streams at a time.

A slot's state lives here for as long as its stream lives; a step gathers the slots that it is given, runs the
layers on them, and scatters the state back. Weights are shared and never written. Any backend that keeps this
contract serves: OpenVINO is the one for CPUs; torch (the extra `torch`) is the reference and the path to GPUs. Either
is imported only when chosen. Knows nothing of audio, windows or votes.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamcab.errors import ConfigError
from streamcab.extras import missing
from streamcab.nn.architecture import Architecture
from streamcab.nn.backend.pieces import RUNS, Answer, Floats, State
from streamcab.nn.weights import Net

__all__ = [
    "BACKENDS",
    "PRECISIONS",
    "RUNS",
    "Answer",
    "Backend",
    "Floats",
    "Runtime",
    "State",
    "make_backend",
    "make_runtime",
    "resolved",
]

BACKENDS = ("auto", "torch", "openvino")
PRECISIONS = ("auto", "f32", "tf32", "bf16")


class Backend(Protocol):
    """The seam. A slot holds one stream; `reset` before a stream's first step. One thread at a time."""

    def reset(self, slots: NDArray[np.intp]) -> None:
        """Make slots ready for new streams: as if they had never been used."""

    def state(self, slot: int) -> State:
        """Return a copy of what the net remembers of a stream."""

    def restore(self, slots: NDArray[np.intp], state: State) -> None:
        """Make streams remember what `state`, of this backend, says."""

    def step(
        self, slots: NDArray[np.intp], x: Floats, first: NDArray[np.int64], end: NDArray[np.int64]
    ) -> Answer:
        """Compute H more intervals of B streams, no slot twice: x (B, H * I), normalised, 0 beyond a stream's end.

        first  (B,) intervals of each stream so far        end  (B,) intervals of it in all, or FOREVER
        Returns c (B, H, labels), with `other` one more, attention (B, H, classifiers) and u (B, H, summary) of the
        intervals first - delay .. ; those whose index is negative mean nothing.
        """

    def start(
        self, slots: NDArray[np.intp], x: Floats, first: NDArray[np.int64], end: NDArray[np.int64]
    ) -> Callable[[], Answer]:
        """Begin a step, which is computed while the caller does something else where that is possible.

        Steps that were begun are computed in this order. Returns what waits for the answer; it may be called again.
        """

    def prepare(self, *, wait: bool = True) -> None:
        """Compile or record what these slots can need, so that no stream has to wait for it later.

        Without `wait` it is done in the background where that is possible; until then steps take longer.
        """

    @property
    def bytes_per_slot(self) -> int:
        """Memory of one stream's state."""


class Runtime(Protocol):
    """A net where it is computed: for whole clips, and for any number of backends, which share its weights."""

    @property
    def architecture(self) -> Architecture:
        """The architecture of the net."""

    def clip(self, x: Floats) -> Floats:
        """Compute one whole clip: normalised samples x (T,), whole intervals -> c, attention and u (T / interval,
        width)."""

    def backend(self, slots: int) -> Backend:
        """Return a backend for `slots` streams. It compiles or records each shape when it is first needed."""


def resolved(name: str, device: str) -> str:
    """Return the backend that `name` of BACKENDS means on a device, torch or openvino; raise ConfigError for what
    cannot work."""
    if name not in BACKENDS:
        raise ConfigError(f"backend is {name!r}; it can be {', '.join(BACKENDS)}")
    cpu = device == "cpu"
    if name == "auto":
        there = [package for package in ("openvino", "torch") if find_spec(package) is not None]
        name = "torch" if not cpu or there == ["torch"] else "openvino"
    if name == "openvino" and not cpu:
        raise ConfigError(f"the backend openvino computes on the CPU, not on {device}; use --backend torch")
    if find_spec(name) is None:
        raise missing(name, f"the backend {name}")
    return name


def make_runtime(
    name: str,
    net: Net,
    device: str = "cpu",
    precision: str = "f32",
    threads: int = 1,
) -> Runtime:
    """Put the net on the backend `name` of BACKENDS; `auto` is openvino where it can be, else torch.

    Args:
        name: of the backend.
        net: whose weights are computed with.
        device: cpu, cuda or cuda:N.
        precision: one of PRECISIONS; `auto` is bf16 where openvino computes on a processor that has it, else f32.
        threads: that openvino may use; torch's are of the whole process.

    Raises:
        ConfigError: it cannot work.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision is {precision!r}; it can be {' or '.join(PRECISIONS)}")
    if device == "cpu" and precision == "tf32":
        raise ConfigError("precision tf32 is one of CUDA devices; on a CPU it can be f32 or bf16")
    if resolved(name, device) == "torch":
        from streamcab.nn.backend.torch_net import TorchNet

        return TorchNet(net, device, "f32" if precision == "auto" else precision)
    from streamcab.nn.backend.openvino_net import OpenVinoNet, has_bf16

    if precision == "auto":
        precision = "bf16" if has_bf16() else "f32"
    return OpenVinoNet(net, precision, threads)


def make_backend(
    name: str,
    net: Net,
    slots: int,
    device: str = "cpu",
    precision: str = "f32",
    threads: int = 1,
    *,
    wait: bool = True,
) -> Backend:
    """Return a backend on such a runtime, prepared for `slots` streams: see `make_runtime` and `Backend.prepare`."""
    backend = make_runtime(name, net, device, precision, threads).backend(slots)
    backend.prepare(wait=wait)
    return backend
