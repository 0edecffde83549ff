"""The speech detector's training: material into a cache, pieces into band levels, a net that hears whole numbers only.

    python -m streamcab_train.detect gather FOLDER --speech saa8k/manifest.csv english8k/manifest.csv --sounds PACKAGES
    python -m streamcab_train.detect train FOLDER
    python -m streamcab_train.detect attach FOLDER MODEL

train/recipes/speech.sh has the whole way. FOLDER is scratch: nothing of it is committed but what `attach` writes into a
model. Knows nothing of accents.
"""

import argparse
import csv
import dataclasses
import hashlib
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import resample_poly
from torch import Tensor, nn

from streamcab.dsp import bands
from streamcab.dsp.detector import (
    ACTIVE_STEP,
    AHEAD,
    CHANNELS,
    DILATIONS,
    INPUTS,
    LEVEL,
    MOST,
    QUIETEST,
    RANGE,
    TAPS,
    WEIGHT_STEPS,
)
from streamcab.nn.checkpoint import Checkpoint, load, save
from streamcab.nn.weights import Weights
from streamcab.source.file import read_audio
from streamcab_train.mixtures import INTERVAL, Clip, Material, piece
from streamcab_train.silero import Silero
from streamcab_train.sounds import RATE

log = logging.getLogger("streamcab.detect")

SUFFIXES = {".ogg", ".oga", ".wav", ".mp3", ".flac"}
MOST_SOUND_S = 60
PER_PACKAGE = 40
HEARD_AS_SPEECH = 0.03
"""A sound of which the teacher finds more than this to be speech is left out: sung words above all."""


def at_8k(path: Path) -> NDArray[np.float32]:
    """A file as mono at 8 kHz."""
    samples, rate = read_audio(path)
    x = np.asarray(samples, np.float32)
    if rate != RATE:
        common = int(np.gcd(rate, RATE))
        x = resample_poly(x, RATE // common, rate // common).astype(np.float32)
    return x


def is_test(name: str, share: float = 0.15) -> bool:
    """Whether a speaker is kept for the test: by his name, so that more speakers do not shuffle the others."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32 < share


def gather(folder: Path, manifests: list[Path], sounds: list[Path], keep_out: list[str], most: int) -> None:
    """Write speech-train.npz, speech-test.npz, sounds-train.npz and sounds-test.npz."""
    folder.mkdir(parents=True, exist_ok=True)
    teacher, rng = Silero(), np.random.default_rng(0)
    found: dict[str, list[NDArray[np.float32]]] = {"train": [], "test": []}
    for manifest in manifests:
        with manifest.open() as file:
            rows = list(csv.DictReader(file))
        for i in rng.permutation(len(rows))[:most]:
            row = rows[int(i)]
            side = "test" if is_test(row.get("group") or row["speaker"]) else "train"
            x = at_8k(manifest.parent / row["path"])
            x = x[: len(x) // INTERVAL * INTERVAL]
            if len(x) >= RATE:
                found[side].append(x)
    for side, clips in found.items():
        labels = _labels(teacher, clips)
        keep = [k for k, said in enumerate(labels) if said.max() > 0.9]
        _save(folder / f"speech-{side}.npz", [clips[k] for k in keep], labels=[labels[k] for k in keep])
        log.info(f"{side}: {len(keep)} clips, {sum(len(clips[k]) for k in keep) / RATE / 60:.0f} minutes")
    for side in ("train", "test"):
        kept, names, dropped = [], [], 0
        for package in sorted(p for root in sounds for p in root.iterdir() if p.is_dir()):
            if (package.name in keep_out) != (side == "test"):
                continue
            files = sorted(f for f in package.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
            for f in np.random.default_rng(1).permutation(np.array(files, object))[:PER_PACKAGE]:
                try:
                    x = at_8k(f)[: MOST_SOUND_S * RATE]
                except Exception as error:  # a package may hold anything
                    log.warning("%s: %s", f.name, error)
                    continue
                if len(x) < RATE // 4 or float(np.abs(x).max()) < 1e-3:
                    continue
                said = teacher.chunks((x / np.abs(x).max() * 0.5)[None])[0]
                if len(said) and float((said > 0.5).mean()) > HEARD_AS_SPEECH:
                    dropped += 1
                    continue
                kept.append(x)
                names.append(f"{package.name}/{f.name}")
        _save(folder / f"sounds-{side}.npz", kept, names=names)
        log.info(
            f"{side}: {len(kept)} sounds, {sum(map(len, kept)) / RATE / 60:.0f} minutes, {dropped} heard as speech"
        )


def _labels(teacher: Silero, clips: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """The teacher's probabilities for each interval of clips, in batches of like lengths."""
    out: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(clips)
    order = sorted(range(len(clips)), key=lambda k: len(clips[k]))
    for start in range(0, len(order), 64):
        some = order[start : start + 64]
        longest = max(len(clips[k]) for k in some)
        x = np.stack([np.pad(clips[k], (0, longest - len(clips[k]))) for k in some])
        # At a common level: the teacher is asked what is speech, not how loud it is.
        x = x / np.maximum(np.abs(x).max(1, keepdims=True), 1e-4) * np.float32(0.5)
        for k, said in zip(some, teacher.intervals(x), strict=True):
            out[k] = said[: len(clips[k]) // INTERVAL]
    return out


def _save(path: Path, clips: list[NDArray[np.float32]], **more: Any) -> None:
    packed = np.concatenate(clips) if clips else np.zeros(0, np.float32)
    x = np.round(np.clip(packed, -1, 1) * 32767).astype(np.int16)
    if "labels" in more:
        more["labels"] = np.concatenate(more["labels"])
    np.savez(path, x=x, length=np.array([len(c) for c in clips]), **more)


def _open(path: Path) -> tuple[list[NDArray[np.float32]], Any]:
    data = np.load(path, allow_pickle=False)
    ends = np.cumsum(data["length"])
    x = data["x"]
    return [x[e - n : e].astype(np.float32) / 32768 for e, n in zip(ends, data["length"], strict=True)], data


def material(folder: Path, side: str) -> Material:
    """What `gather` has found."""
    clips, data = _open(folder / f"speech-{side}.npz")
    sounds, _ = _open(folder / f"sounds-{side}.npz")
    cuts = np.cumsum([len(c) // INTERVAL for c in clips])[:-1]
    labels = np.split(data["labels"], cuts)
    return Material([Clip(x, said) for x, said in zip(clips, labels, strict=True)], sounds)


def make_pieces(folder: Path, name: str, side: str, count: int, seed: int, only: Sequence[str] = ()) -> None:
    """Levels and labels of pieces, as `name`.npz; with `only`, of sounds by these makers and of recorded ones."""
    some, rng = material(folder, side), np.random.default_rng(seed)
    if only:
        some = dataclasses.replace(some, makers=tuple(only))
    levels, labels, kinds = [], [], []
    begun = time.monotonic()
    for k in range(count):
        p = piece(some, rng, sounds_only=bool(only))
        levels.append(bands.levels(p.x.reshape(-1, INTERVAL)))
        labels.append(p.speech)
        kinds.append(p.kind)
        if k % 100 == 99:
            log.info(f"{k + 1} pieces, {time.monotonic() - begun:.0f} s")
    np.savez(folder / f"{name}.npz", levels=np.stack(levels), labels=np.stack(labels), kinds=np.array(kinds))


def inputs(levels: Tensor) -> Tensor:
    """As `detector.Detector._relative`: levels (B, K, BANDS) -> (B, INPUTS, K), in octaves of power."""
    loud = levels.amax(2)
    before = torch.full((len(loud), LEVEL - 1), float(bands.FLOOR))
    windows = torch.cat((before, loud), 1).unfold(1, LEVEL, 1)
    top = windows.amax(2).clamp(min=QUIETEST)
    low = windows.amin(2).clamp(min=QUIETEST - RANGE * bands.STEP)
    x = torch.cat((levels, loud[..., None], low[..., None]), 2) - (top - RANGE * bands.STEP)[..., None]
    return (x.clamp(0, RANGE * bands.STEP) / bands.STEP).transpose(1, 2)


SPREAD, MIDDLE = 5.0, 10.0
"""Deviation and mean of inputs, about."""
OUT_STEP = 256


def _rounded(x: Tensor, step: int) -> Tensor:
    """To multiples of 1 / step; the gradient passes as if it were not."""
    return x + (torch.round(x * step) / step - x).detach()


class Net(nn.Module):
    """`detector.py`'s net, trained as it will be: in whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        widths = [INPUTS, *[CHANNELS] * len(DILATIONS)]
        self.layers = nn.ModuleList(
            nn.Conv1d(a, b, TAPS, dilation=d)
            for a, b, d in zip(widths[:-1], widths[1:], DILATIONS, strict=True)
        )
        self.out = nn.Linear(CHANNELS, 1)

    def weights(self, layer: int) -> tuple[Tensor, Tensor]:
        """Of a convolution, as they will be: rounded. The first learns on inputs of about mean 0 and deviation 1."""
        conv = self.layers[layer]
        assert isinstance(conv, nn.Conv1d)
        assert conv.bias is not None
        step = WEIGHT_STEPS[min(layer, 1)]
        w, b = conv.weight, conv.bias
        if layer == 0:
            w = w / SPREAD
            b = b - MIDDLE * w.sum((1, 2))
        most = 1024 / step
        return _rounded(w.clamp(-most, most), step), _rounded(b, step)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, INPUTS, K) -> evidence for speech at K instants, (B, K); before the first lies what x begins with."""
        for i, d in enumerate(DILATIONS):
            w, b = self.weights(i)
            padded = torch.cat((x[:, :, :1].expand(-1, -1, (TAPS - 1) * d), x), 2)
            y = nn.functional.conv1d(padded, w, b, dilation=d)
            x = _rounded(y.clamp(0, MOST / ACTIVE_STEP), ACTIVE_STEP)
        w = _rounded(self.out.weight.clamp(-4, 4), OUT_STEP)
        return torch.einsum("bck,c->bk", x, w[0]) + _rounded(self.out.bias, OUT_STEP)

    def tensors(self) -> dict[str, Tensor]:
        """As a checkpoint holds them: kernels (TAPS * inputs, CHANNELS), the oldest tap first."""
        found: dict[str, Tensor] = {}
        for i in range(len(DILATIONS)):
            w, b = (part.detach() for part in self.weights(i))
            found[f"kernel{i}"] = w.permute(2, 1, 0).reshape(-1, w.shape[0]).contiguous()
            found[f"bias{i}"] = b
        found["out"] = torch.round(self.out.weight.detach().clamp(-4, 4)[0] * OUT_STEP) / OUT_STEP
        found["bias"] = torch.round(self.out.bias.detach() * OUT_STEP) / OUT_STEP
        return found


def train(folder: Path, epochs: int, batch: int, rate: float, seed: int, start: Path | None = None) -> None:
    """Fit the net to pieces-train*.npz; the best on pieces-valid*.npz becomes net.pt."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    data = {
        name: [np.load(path) for path in sorted(folder.glob(f"pieces-{name}*.npz"))]
        for name in ("train", "valid")
    }
    x = {name: torch.from_numpy(np.concatenate([d["levels"] for d in some])) for name, some in data.items()}
    y = {name: torch.from_numpy(np.concatenate([d["labels"] for d in some])) for name, some in data.items()}
    net = Net()
    if start is not None:
        net.load_state_dict(torch.load(start, weights_only=True))
    steps = epochs * (len(x["train"]) // batch)
    optimiser = torch.optim.AdamW(net.parameters(), rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps + 1, pct_start=0.1)
    best = np.inf
    for epoch in range(epochs):
        net.train()
        total, begun = 0.0, time.monotonic()
        order = torch.randperm(len(x["train"]))
        for k in range(0, len(order) - batch + 1, batch):
            some = order[k : k + batch]
            loss = _loss(net, x["train"][some].float(), y["train"][some])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += loss.item()
        net.eval()
        with torch.no_grad():
            scores = torch.cat([net(inputs(part.float())) for part in torch.split(x["valid"], 64)])
        late = _late(scores)
        valid = nn.functional.binary_cross_entropy_with_logits(late, y["valid"]).item()
        truth = y["valid"].numpy().ravel() > 0.5
        if valid < best:
            best = valid
            torch.save(net.state_dict(), folder / "net.pt")
        log.info(
            f"epoch {epoch + 1}: train {total / (len(order) // batch):.4f}, valid {valid:.4f}, "
            f"area {area(late.numpy().ravel(), truth):.4f}, {time.monotonic() - begun:.0f} s",
        )


def _late(scores: Tensor) -> Tensor:
    """The score at each interval stands for the one AHEAD before it; the last are judged as the end."""
    return torch.cat((scores[:, AHEAD:], scores[:, -1:].expand(-1, AHEAD)), 1)


def _loss(net: Net, levels: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.binary_cross_entropy_with_logits(net(inputs(levels))[:, AHEAD:], labels[:, :-AHEAD])


def area(scores: NDArray[Any], truth: NDArray[np.bool_]) -> float:
    """Area under the receiver's curve: how often speech scores above what is none."""
    order = np.argsort(scores, kind="stable")
    ranks = np.empty(len(scores))
    ranks[order] = np.arange(1, len(scores) + 1)
    # Equal scores share their ranks.
    _, back, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.bincount(back, ranks) / counts)[back]
    yes, no = int(truth.sum()), int((~truth).sum())
    return float((ranks[truth].sum() - yes * (yes + 1) / 2) / (yes * no))


def attach(folder: Path, model: Path, threshold: float) -> None:
    """Give the model a detector: net.pt, speech where its evidence exceeds `threshold`. Its other weights stay."""
    net = Net()
    net.load_state_dict(torch.load(folder / "net.pt", weights_only=True))
    arrays = {f"detector.{name}": t.numpy() for name, t in net.tensors().items()}
    arrays["detector.bias"] = arrays["detector.bias"] - np.float32(round(threshold * OUT_STEP) / OUT_STEP)
    found = load(model)
    architecture = dataclasses.replace(found.architecture, detector=CHANNELS)
    save(Checkpoint(Weights(architecture, {**found.weights.arrays, **arrays}), found.card), model)
    log.info(f"{model}: {load(model).hash}")


def main() -> None:
    """One stage."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    stages = parser.add_subparsers(dest="stage", required=True)
    one = stages.add_parser("gather")
    one.add_argument("folder", type=Path)
    one.add_argument("--speech", type=Path, nargs="+", required=True)
    one.add_argument("--sounds", type=Path, nargs="+", required=True)
    one.add_argument("--keep-out", nargs="*", default=[], help="packages that are for the test")
    one.add_argument("--most", type=int, default=2000, help="clips of each corpus")
    one = stages.add_parser("pieces")
    one.add_argument("folder", type=Path)
    one.add_argument("--name", default="pieces-train")
    one.add_argument("--count", type=int, default=3000)
    one.add_argument("--seed", type=int, default=2)
    one.add_argument(
        "--only", nargs="*", default=[], help="sounds of these makers, no speech: what is mistaken most"
    )
    one = stages.add_parser("train")
    one.add_argument("folder", type=Path)
    one.add_argument("--epochs", type=int, default=20)
    one.add_argument("--batch", type=int, default=32)
    one.add_argument("--rate", type=float, default=3e-3)
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--start", type=Path, help="a net.pt to go on from")
    one = stages.add_parser("attach")
    one.add_argument("folder", type=Path)
    one.add_argument("model", type=Path)
    one.add_argument("--threshold", type=float, default=0.0, help="logarithm of the odds")
    args = parser.parse_args()
    if args.stage == "gather":
        gather(args.folder, args.speech, args.sounds, args.keep_out, args.most)
    elif args.stage == "pieces":
        make_pieces(args.folder, args.name, "train", args.count, args.seed, args.only)
    elif args.stage == "train":
        train(args.folder, args.epochs, args.batch, args.rate, args.seed, args.start)
    elif args.stage == "attach":
        attach(args.folder, args.model, args.threshold)


if __name__ == "__main__":
    main()
