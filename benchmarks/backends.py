"""The backends side by side in one run: streams per core, distance from the offline net, and what bf16
changes.

    python benchmarks/backends.py [--corpus FOLDER] [--clips 100]

FOLDER holds a `manifest.csv` with a column `path`; without it the project's own clips are heard. Everything
on one thread; see inference.py for the reference layer and for what "share" means.
"""

import argparse
import csv
import os
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import soundfile
import torch
from inference import CLIPS, REFERENCE_GFLOP, Reference, cost, model
from numpy.typing import NDArray

from streamcab.audio.ring import Bank
from streamcab.errors import ConfigError
from streamcab.evidence.layer import Evidence, evidence_of
from streamcab.inference.engine import Engine
from streamcab.nn.backend import Backend, make_backend
from streamcab.nn.backend.torch import TorchBackend
from streamcab.nn.cabcnn import CabCnn
from streamcab.nn.distiller import FOREVER

SHAPES = ((1, 1), (1, 8), (8, 1), (64, 1), (64, 4), (64, 8), (256, 4), (1024, 8))


def candidates(net: CabCnn, slots: int) -> dict[str, Backend]:
    """Return every backend that can be had here, by name."""
    found: dict[str, Backend] = {}
    for name in ("torch", "openvino"):
        for precision in ("f32", "bf16"):
            try:
                found[f"{name} {precision}"] = make_backend(name, net, slots, precision=precision)
            except ConfigError as error:
                print(f"{name} {precision} left out: {error}")
    return found


def speeds(net: CabCnn, seconds: float) -> None:
    """Print a row per shape, a column per backend, all of them taking turns with the reference layer."""
    gflop, reference = cost(net.architecture), Reference()
    found = candidates(net, max(b for b, _ in SHAPES))
    rng = np.random.default_rng(0)
    print("\nms a pass, streams per core, share of the reference layer's rate")
    print(f"{'B x H':>9}" + "".join(f"{name:>27}" for name in found) + "    reference GFLOP/s")
    for b, h in SHAPES:
        x = rng.standard_normal((b, h * net.architecture.interval)).astype(np.float32)
        slots, first, end = np.arange(b), np.full(b, 100), np.full(b, FOREVER)
        took: dict[str, list[float]] = {name: [] for name in found}
        beside = []
        until = time.perf_counter() + seconds * len(found)
        while len(beside) < 6 or time.perf_counter() < until:
            for name, backend in found.items():
                backend.step(slots, x, first, end)
                for _ in range(3):
                    start = time.process_time()
                    backend.step(slots, x, first, end)
                    took[name].append(time.process_time() - start)
            beside.append(reference.seconds())
        rate = REFERENCE_GFLOP / float(np.median(beside))
        line = f"{f'{b} x {h}':>9}"
        for name in found:
            pass_s = float(np.median(took[name]))
            streams = b * h * net.architecture.interval_s / pass_s
            line += f"{pass_s * 1e3:12.3f} {streams:7.0f} {streams * gflop / rate:6.0%}"
        print(f"{line} {rate:12.0f}", flush=True)


@dataclass
class Answers:
    """Answers to a clip: c (K, labels), u (K, summary), and which of its intervals are voiced (K,)."""

    c: list[NDArray[np.float32]]
    u: list[NDArray[np.float32]]
    votes: list[NDArray[np.bool_]]
    evidence: Evidence | None

    def answers(self) -> NDArray[np.float64]:
        """Return the answer of each clip that has one, before its temperature, (clips, labels)."""
        found = []
        for c, u, votes in zip(self.c, self.u, self.votes, strict=True):
            if not votes.any():
                continue
            mean = c[votes].mean(0, dtype=np.float64)
            if self.evidence is not None:
                mean = self.evidence(mean[None], *self.evidence.of_clip(u, votes))[0]
            found.append(mean)
        return np.array(found)


def hear(net: CabCnn, backend: Backend, clips: list[NDArray[np.float32]], rate: int) -> Answers:
    """Classify all clips at once, as live streams."""
    longest = max(map(len, clips))
    engine, bank = Engine(net, len(clips), backend), Bank(rate, len(clips), longest + 1)
    order = [engine.attach(bank, row) for row in range(len(clips))]
    c: dict[int, list[NDArray[np.float32]]] = {slot: [] for slot in order}
    u: dict[int, list[NDArray[np.float32]]] = {slot: [] for slot in order}
    votes: dict[int, list[NDArray[np.bool_]]] = {slot: [] for slot in order}
    for at in range(0, longest + rate, rate):
        for row, clip in enumerate(clips):
            if at < len(clip):
                bank.write(row, clip[at : at + rate], 0.0)
            elif not bank.ended[row]:
                bank.finish(row)
        for e in engine.advance():
            for i, slot in enumerate(e.slots):
                real = np.arange(e.c.shape[1]) + e.first[i] >= 0
                c[slot].append(e.c[i][real])
                u[slot].append(e.u[i][real])
                votes[slot].append(e.votes(True)[i][real])
    c_u_votes = ([np.concatenate(part[s]) for s in order] for part in (c, u, votes))
    return Answers(*c_u_votes, evidence_of(net))


def changes(net: CabCnn, paths: list[Path]) -> None:
    """Print how the answers of each backend differ from torch in float32."""
    read = [soundfile.read(path, dtype="float32") for path in paths]
    rate = read[0][1]
    clips = [x for x, own in read if own == rate]
    wanted = hear(net, TorchBackend(net, len(clips)), clips, rate)
    minutes = sum(map(len, clips)) / rate / 60
    print(f"\n{len(clips)} clips, {minutes:.0f} minutes; largest change against torch f32")
    print(f"{'':16}{'one c_t':>10}{'an answer':>12}   labels changed")
    for name, backend in candidates(net, len(clips)).items():
        got = hear(net, backend, clips, rate)
        one = max(float(np.abs(a - b).max()) for a, b in zip(got.c, wanted.c, strict=True))
        a, b = got.answers(), wanted.answers()
        labels = int((a.argmax(1) != b.argmax(1)).sum())
        print(f"{name:16}{one:10.1e}{np.abs(a - b).max():12.1e}{labels:9} of {len(a)}")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="Backends side by side.")
    parser.add_argument("--corpus", type=Path, help="a folder with manifest.csv")
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each backend and shape")
    args = parser.parse_args()
    torch.set_num_threads(1)
    net, whose = model()
    print(f"{whose}, one thread")
    speeds(net, args.seconds)
    if args.corpus:
        with (args.corpus / "manifest.csv").open(encoding="utf-8") as file:
            paths = [args.corpus / row["path"] for row in csv.DictReader(file)]
        # Spread over the whole list, which is sorted by accent.
        changes(net, paths[:: max(len(paths) // args.clips, 1)][: args.clips])
    else:
        changes(net, sorted(CLIPS.glob("*.ogg")))


if __name__ == "__main__":
    main()
