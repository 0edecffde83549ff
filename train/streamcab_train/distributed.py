"""Training of one network in several processes, started by torchrun: ranks, and sums over all of them.

    torchrun --nproc-per-node 2 -m streamcab train ...

Each takes its share of every batch; sums over the whole batch go through `ProcessGroup.sum`, which gradients cross too.
gloo on CPUs, nccl on CUDA. If one process ends, the others end too. Knows nothing of networks, data or folders.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from streamcab.errors import ConfigError, StreamcabError

T = TypeVar("T")


@dataclass(frozen=True)
class ProcessGroup:
    """This process has number `rank`, from 0 on, of `size`. A single process does not communicate."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def own(self, n: int) -> slice:
        """Return this process' share of n items, which may be empty."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def sum(self, x: Tensor) -> Tensor:
        """Return the sum of x over all processes; its gradient is the sum of their gradients."""
        return x if self.size == 1 else _Sum.apply(x)  # type: ignore[no-untyped-call]

    def add_gradients(self, parameters: Iterable[torch.nn.Parameter], loss: Tensor) -> Tensor:
        """Sum the gradients of each parameter over all processes; return the summed loss, ()."""
        learning = [p for p in parameters if p.requires_grad]
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in learning]
        # One message, not one for each parameter.
        flat = _added(torch.cat([*(g.flatten() for g in grads), loss.detach().reshape(1)]))
        sizes = [p.numel() for p in learning]
        for p, grad in zip(learning, torch.split(flat[:-1], sizes), strict=True):
            p.grad = grad.view_as(p)
        return flat[-1]

    def gather(self, own: T) -> list[T]:
        """Return the values of all processes, by rank."""
        if self.size == 1:
            return [own]
        found: list[Any] = [None] * self.size
        with _heard():
            dist.all_gather_object(found, own)
        return found


ALONE = ProcessGroup()


def started_by_torchrun() -> bool:
    """Return whether this process is one of several."""
    return int(os.environ.get("WORLD_SIZE") or 1) > 1


@contextlib.contextmanager
def joined(device: str) -> Iterator[tuple[ProcessGroup, str]]:
    """Join the other processes, if any; return this process' rank and device. StreamcabError if one is lost."""
    if not started_by_torchrun():
        yield ALONE, device
        return
    try:
        rank, size, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']!r}, but {error} is missing or no number: start with torchrun"
        ) from None
    if device == "cuda":
        device = f"cuda:{local}"
        torch.cuda.set_device(device)
    before = signal.signal(signal.SIGTERM, _stopped)
    try:
        with _heard():
            dist.init_process_group("cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo")
        yield ProcessGroup(rank, size), device
    finally:
        signal.signal(signal.SIGTERM, before)
        if dist.is_initialized():
            dist.destroy_process_group()


def leave() -> None:
    """End this process successfully, if it is one of several, without Python's own shutdown.

    Threads of torch.distributed that want the interpreter while it ends bring it down (seen with torch 2.13 and
    Python 3.11: "terminate called without an active exception", SIGABRT, after all work was done).
    """
    if started_by_torchrun():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


LOST = "another process of this training has ended: the same command goes on, `streamcab train` with --resume"


def _stopped(_signal: int, _frame: FrameType | None) -> None:
    """Handle the signal with which torchrun ends the remaining processes."""
    raise StreamcabError(LOST)


@contextlib.contextmanager
def _heard() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise StreamcabError(f"{LOST} ({' '.join(str(error).split())[:120]})") from None


def _added(x: Tensor) -> Tensor:
    total = x.detach().clone()
    with _heard():
        dist.all_reduce(total)
    return total


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        return _added(x)

    @staticmethod
    def backward(_ctx: Any, *grads: Tensor) -> Tensor:
        return _added(grads[0])
