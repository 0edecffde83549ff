"""The seam between streams and arithmetic: slots of stream state, and one step for many streams at a time.

A slot's state lives here for as long as its stream lives; a step gathers the slots that it is given, runs the
layers on them, and scatters the state back. Weights are shared and never written. Any backend that keeps this
contract serves: torch is the reference and the path to GPUs, OpenVINO (the extra `fast`) is the quicker one
on CPUs and is imported only when chosen. Knows nothing of audio, windows or votes.
"""

from importlib.util import find_spec
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamcab.errors import ConfigError
from streamcab.nn.backend.pieces import Floats
from streamcab.nn.backend.torch import TorchBackend
from streamcab.nn.cabcnn import CabCnn

__all__ = ["BACKENDS", "PRECISIONS", "Backend", "Floats", "TorchBackend", "make_backend"]

BACKENDS = ("auto", "torch", "openvino")
PRECISIONS = ("f32", "tf32", "bf16")


class Backend(Protocol):
    """The seam. A slot holds one stream; `reset` before a stream's first step. One thread at a time."""

    def reset(self, slots: NDArray[np.intp]) -> None:
        """Make slots ready for new streams: as if they had never been used."""

    def step(
        self, slots: NDArray[np.intp], x: Floats, first: NDArray[np.int64], end: NDArray[np.int64]
    ) -> tuple[Floats, Floats, Floats]:
        """H more intervals of B streams, no slot twice: x (B, H * I), normalised, 0 beyond a stream's end.

        first  (B,) intervals of each stream so far        end  (B,) intervals of it in all, or FOREVER
        Returns c (B, H, labels), attention (B, H, classifiers) and u (B, H, summary) of the intervals
        first - delay .. ; those whose index is negative mean nothing.
        """

    @property
    def bytes_per_slot(self) -> int:
        """Memory of one stream's state."""


def make_backend(
    name: str, model: CabCnn, slots: int, device: str = "cpu", precision: str = "f32", threads: int = 1
) -> Backend:
    """The backend `name` of BACKENDS, ready to step; `auto` is openvino where it can be, else torch.

    threads  that openvino may use; torch's are of the whole process

    ConfigError for what cannot work. What compiles or records does so here, and no stream has to wait for it later.
    """
    if name not in BACKENDS:
        raise ConfigError(f"backend is {name!r}; it can be {', '.join(BACKENDS)}")
    if precision not in PRECISIONS:
        raise ConfigError(f"precision is {precision!r}; it can be {' or '.join(PRECISIONS)}")
    cpu = device == "cpu"
    if cpu and precision == "tf32":
        raise ConfigError("precision tf32 is one of CUDA devices; on a CPU it can be f32 or bf16")
    installed = find_spec("openvino") is not None
    if name == "torch" or (name == "auto" and not (cpu and installed)):
        if cpu:
            return TorchBackend(model, slots, device, precision)
        from streamcab.nn.backend.cuda import CudaBackend

        on_gpu = CudaBackend(model, slots, device, precision)
        on_gpu.prepare()
        return on_gpu
    if not cpu:
        raise ConfigError(f"the backend openvino computes on the CPU, not on {device}; use --backend torch")
    if not installed:
        raise ConfigError(
            "the backend openvino is not installed: pip install 'streamcab[fast]', or --backend torch"
        )
    from streamcab.nn.backend.openvino import OpenVinoBackend

    backend = OpenVinoBackend(model, slots, precision, threads)
    backend.prepare()
    return backend
