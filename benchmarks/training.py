"""Seconds of audio that a second of training takes in: our step and the same net in Keras 3 on torch, in turns.

    pip install -e '.[baselines]'
    python benchmarks/training.py

A step is forward, backward and Adam: `step.backward` with torch's Adam, as `streamcab train` does it, against Keras'
`train_on_batch`. First the nets are shown to be one: as many parameters, the same answers on the same weights, and
without dropout the same losses for some steps. Each round times both, and our step in bf16; medians and quartiles of
the rounds. Clock for what a user waits, processor time for what a busy machine cannot falsify (with one thread).
"""

import argparse
import os
import time
from collections.abc import Callable

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import keras
import keras_net
import numpy as np
import torch
from streamcab_train.loop import KERAS_EPSILON
from streamcab_train.step import backward
from torch import Tensor

from streamcab.nn.cabcnn import Architecture, CabCnn, mean_of_votes

LABELS = ("us", "uk", "australia")
PARAMETERS = 133_856
RATE = 1e-3
Batch = tuple[Tensor, Tensor, Tensor]
Step = Callable[[], float]


def batch(clips: int, seconds: float, arch: Architecture) -> Batch:
    """Make noise: x (B, K * I), votes (B, K), y (B,). What is heard costs nothing."""
    g = torch.Generator().manual_seed(1)
    k = round(seconds / arch.interval_s)
    x = torch.randn(clips, k * arch.interval, generator=g)
    votes = torch.rand(clips, k, generator=g) > 0.2
    return x, votes, torch.randint(len(arch.labels), (clips,), generator=g)


def steps(net: CabCnn, data: Batch) -> tuple[Step, Step, Step]:
    """Return a training step of ours, of Keras', and of ours in bf16, on the same weights and batch; each gives its
    loss."""
    x, votes, y = data
    net.train()
    adam = torch.optim.Adam(net.parameters(), lr=RATE, eps=KERAS_EPSILON)

    def ours(bf16: bool = False) -> float:
        adam.zero_grad(set_to_none=True)
        loss = backward(net, x, votes, y, 0.0, bf16=bf16)
        adam.step()
        return loss

    theirs = keras_net.build(net.architecture, votes.shape[1])
    keras_net.put(net, theirs)
    optimiser = keras.optimizers.Adam(RATE, epsilon=KERAS_EPSILON)
    theirs.compile(optimizer=optimiser, loss="sparse_categorical_crossentropy")
    # What Keras' own loop would hand over.
    given = [x.unsqueeze(-1).numpy(), votes.float().numpy()], y.numpy()
    return ours, lambda: float(theirs.train_on_batch(*given)), lambda: ours(bf16=True)


def show_equal() -> None:
    """Exit unless both nets are the same."""
    torch.manual_seed(0)
    net = CabCnn(keras_net.without_dropout(Architecture(LABELS))).eval()
    x, votes, y = batch(4, 3.0, net.architecture)
    theirs = keras_net.build(net.architecture, votes.shape[1])
    keras_net.put(net, theirs)
    counts = [sum(p.numel() for p in net.parameters()), sum(w.numpy().size for w in theirs.trainable_weights)]
    with torch.inference_mode():
        said = theirs([x.unsqueeze(-1), votes.float()], training=False)
        gap = float((mean_of_votes(net(x)[0], votes) - said).abs().max())
    mine, other, _ = steps(net, (x, votes, y))
    losses = [(mine(), other()) for _ in range(3)]
    off = max(abs(a - b) for a, b in losses)
    print(
        f"parameters {counts[0]:,} and {counts[1]:,}; answers differ by {gap:.1e}, losses of 3 steps by {off:.1e}"
    )
    if counts != [PARAMETERS] * 2 or gap > 1e-4 or off > 1e-3:
        raise SystemExit("these are not the same net: nothing is timed")


def rounds(several: tuple[Step, ...], n: int, audio_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Measure seconds of audio per second of the clock and of the processor: each (n, steps)."""
    for step in several:
        step()
    clock, processor = np.zeros((2, n, len(several)))
    for i in range(n):
        # Who begins changes: what the one leaves in the caches is not always the other's.
        for which in range(len(several))[:: 1 if i % 2 else -1]:
            began = time.perf_counter(), time.process_time()
            several[which]()
            clock[i, which] = time.perf_counter() - began[0]
            processor[i, which] = time.process_time() - began[1]
    return audio_s / clock, audio_s / processor


def line(name: str, speeds: np.ndarray) -> str:
    """Write medians with quartiles, and those of the rounds' ratios to Keras."""
    low, middle, high = np.percentile(speeds, (25, 50, 75), axis=0)
    cells = [f"{m:.0f} ({a:.0f} to {b:.0f})" for m, a, b in zip(middle, low, high, strict=True)]
    low, middle, high = np.percentile(speeds / speeds[:, [1]], (25, 50, 75), axis=0)
    ratios = [f"{middle[i]:.2f} ({low[i]:.2f} to {high[i]:.2f})" for i in (0, 2)]
    return f"| {name} | {cells[0]} | {cells[1]} | {ratios[0]} | {cells[2]} | {ratios[1]} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Training, here and in Keras.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--paper-batch", type=int, default=8, help="clips of 30 s; the paper has 128")
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    print(f"torch {torch.__version__}, Keras {keras.__version__}, {cores} cores")
    show_equal()
    print(
        "\n| recipe, threads, by | streamcab | Keras | ratio | streamcab, bf16 | ratio |\n|---|---|---|---|---|---|"
    )
    for name, clips, seconds in (("live", 32, 6.0), ("paper", args.paper_batch, 30.0)):
        for threads in sorted({1, cores}):
            torch.set_num_threads(threads)
            torch.manual_seed(0)
            net = CabCnn(Architecture(LABELS))
            several = steps(net, batch(clips, seconds, net.architecture))
            clock, processor = rounds(several, args.rounds, clips * seconds)
            what = f"{name}, {clips} x {seconds:g} s, {threads}"
            print(line(f"{what}, clock", clock), flush=True)
            if threads == 1:
                print(line(f"{what}, processor", processor), flush=True)


if __name__ == "__main__":
    main()
