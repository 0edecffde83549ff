"""The speech detector's training: material into a cache, pieces into band levels, a net that hears whole numbers only.

    python -m streamcab_train.detect gather FOLDER --speech english8k/manifest.csv --sounds PACKAGES
    python -m streamcab_train.detect pieces FOLDER
    python -m streamcab_train.detect train FOLDER
    python -m streamcab_train.detect attach FOLDER MODEL
    python -m streamcab_train.detect copy FROM MODEL

train/recipes/speech.sh has the whole way. FOLDER is scratch: nothing of it is committed but what `attach` writes into a
model. Knows nothing of accents.
"""

import argparse
import dataclasses
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from streamcab.dsp import bands
from streamcab.dsp.detector import AHEAD, CHANNELS, FORM
from streamcab.nn.checkpoint import Checkpoint, load, save
from streamcab.nn.weights import Weights
from streamcab_train.detector_net import OUT_STEP, Net, inputs
from streamcab_train.material import INTERVAL, gather, material
from streamcab_train.mixtures import piece
from streamcab_train.silero import Silero

log = logging.getLogger("streamcab.detect")

PREFIX = "detector."


def make_pieces(folder: Path, name: str, side: str, count: int, seed: int, only: Sequence[str] = ()) -> None:
    """Make levels and labels of pieces, as `name`.npz; with `only`, of sounds by these makers and of recorded ones."""
    some, rng = material(folder, side), np.random.default_rng(seed)
    levels, labels, kinds = [], [], []
    begun = time.monotonic()
    for k in range(count):
        p = piece(some, rng, only)
        levels.append(bands.levels(p.x.reshape(-1, INTERVAL)))
        labels.append(p.speech)
        kinds.append(p.kind)
        if k % 100 == 99:
            log.info(f"{k + 1} pieces, {time.monotonic() - begun:.0f} s")
    np.savez(folder / f"{name}.npz", levels=np.stack(levels), labels=np.stack(labels), kinds=np.array(kinds))


def _read(folder: Path, side: str) -> tuple[NDArray[np.int16], Tensor]:
    """Read levels and labels of every pieces-SIDE*.npz."""
    found = [np.load(path) for path in sorted(folder.glob(f"pieces-{side}*.npz"))]
    labels = torch.from_numpy(np.concatenate([d["labels"] for d in found]))
    return np.concatenate([d["levels"] for d in found]), labels


def train(
    folder: Path,
    epochs: int,
    batch: int,
    rate: float,
    seed: int,
    channels: int = CHANNELS,
    start: Path | None = None,
) -> float:
    """Fit the net to pieces-train*.npz; the best on pieces-valid*.npz becomes net.pt, and its loss is returned."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    x, y = _read(folder, "train")
    valid_x, valid_y = _read(folder, "valid")
    valid_y = valid_y[:, :-AHEAD]
    net = Net(channels)
    if start is not None:
        net.load_state_dict(torch.load(start, weights_only=True))
    steps = epochs * (len(x) // batch)
    optimiser = torch.optim.AdamW(net.parameters(), rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps + 1, pct_start=0.1)
    best = float("inf")
    for epoch in range(epochs):
        net.train()
        total, begun = 0.0, time.monotonic()
        order = rng.permutation(len(x))
        for k in range(0, len(order) - batch + 1, batch):
            some = order[k : k + batch]
            loss = _loss(net(*inputs(coloured(x[some], rng)))[:, AHEAD:], y[some, :-AHEAD])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += loss.item()
        net.eval()
        with torch.no_grad():
            parts = [valid_x[k : k + 64] for k in range(0, len(valid_x), 64)]
            scores = torch.cat([net(*inputs(part)) for part in parts])[:, AHEAD:]
        valid = _loss(scores, valid_y).item()
        if valid < best:
            best = valid
            torch.save(net.state_dict(), folder / "net.pt")
        found = area(scores.numpy().ravel(), valid_y.numpy().ravel() > 0.5)
        log.info(
            f"epoch {epoch + 1}: train {total / (len(order) // batch):.4f}, valid {valid:.4f}, "
            f"area {found:.4f}, {time.monotonic() - begun:.0f} s",
        )
    return best


def coloured(levels: NDArray[np.int16], rng: np.random.Generator) -> NDArray[np.int16]:
    """Record each piece (B, K, BANDS) with another microphone: a smooth response within +-6 dB, silence staying
    silent."""
    points = np.linspace(0, 1, 5)
    response = rng.uniform(-6, 6, (len(levels), 5)) * bands.STEP / 3.01
    at = np.linspace(0, 1, levels.shape[2])
    shift = np.stack([np.interp(at, points, r) for r in response]).round().astype(np.int16)
    changed = np.maximum(levels + shift[:, None], bands.FLOOR)
    return np.where(levels == bands.FLOOR, levels, changed).astype(np.int16)


def _loss(scores: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.binary_cross_entropy_with_logits(scores, labels)


def area(scores: NDArray[Any], truth: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve: how often speech scores above other sound."""
    order = np.argsort(scores, kind="stable")
    ranks = np.empty(len(scores))
    ranks[order] = np.arange(1, len(scores) + 1)
    # Equal scores share their ranks.
    _, back, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.bincount(back, ranks) / counts)[back]
    yes, no = int(truth.sum()), int((~truth).sum())
    return float((ranks[truth].sum() - yes * (yes + 1) / 2) / (yes * no))


def attach(folder: Path, model: Path, threshold: float, taught: str = "") -> None:
    """Give the model a detector: net.pt, speech where its evidence exceeds `threshold`. Its other weights stay.

    `taught` goes into the card: on what, and under which licence.
    """
    state = torch.load(folder / "net.pt", weights_only=True)
    net = Net(state["out.weight"].shape[1])
    net.load_state_dict(state)
    arrays = net.tensors()
    arrays["bias"] = arrays["bias"] - np.float32(round(threshold * OUT_STEP) / OUT_STEP)
    found = {f"{PREFIX}{name}": a for name, a in arrays.items()}
    _give(model, net.channels, FORM, found, {"taught": taught, "threshold": threshold})


def copy(source: Path, model: Path) -> None:
    """Give the model the detector of another, and nothing else of it."""
    checkpoint = load(source)
    weights, architecture = checkpoint.weights, checkpoint.architecture
    found = {name: a for name, a in weights.arrays.items() if name.startswith(PREFIX)}
    if not found:
        raise SystemExit(f"{source} has no detector")
    about = checkpoint.card.get("detector", {})
    _give(model, architecture.detector, architecture.detector_form, found, about)


def _give(
    model: Path, channels: int, form: int, detector: dict[str, NDArray[Any]], about: dict[str, Any]
) -> None:
    found = load(model)
    architecture = dataclasses.replace(found.architecture, detector=channels, detector_form=form)
    others = {name: a for name, a in found.weights.arrays.items() if not name.startswith(PREFIX)}
    card = {**found.card, "detector": about}
    save(Checkpoint(Weights(architecture, {**others, **detector}), card), model)
    log.info(f"{model}: {load(model).hash}")


def main() -> None:
    """Run one stage."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    stages = parser.add_subparsers(dest="stage", required=True)
    one = stages.add_parser("gather")
    one.add_argument("folder", type=Path)
    one.add_argument("--speech", type=Path, nargs="+", required=True)
    one.add_argument("--judge", type=Path, nargs="*", default=[], help="manifests for judging alone")
    one.add_argument(
        "--voices", type=Path, nargs="*", default=[], help="folders of clean speech, for training"
    )
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
    one.add_argument("--channels", type=int, default=CHANNELS)
    one.add_argument("--start", type=Path, help="a net.pt to go on from")
    one = stages.add_parser("attach")
    one.add_argument("folder", type=Path)
    one.add_argument("model", type=Path)
    one.add_argument("--threshold", type=float, default=0.0, help="logarithm of the odds")
    one.add_argument("--taught", default="", help="on what, and under which licence: for the card")
    one = stages.add_parser("copy")
    one.add_argument("source", type=Path)
    one.add_argument("model", type=Path)
    args = parser.parse_args()
    if args.stage == "gather":
        gather(
            args.folder, Silero(), args.speech, args.judge, args.voices, args.sounds, args.keep_out, args.most
        )
    elif args.stage == "pieces":
        make_pieces(args.folder, args.name, "train", args.count, args.seed, args.only)
    elif args.stage == "train":
        train(args.folder, args.epochs, args.batch, args.rate, args.seed, args.channels, args.start)
    elif args.stage == "copy":
        copy(args.source, args.model)
    elif args.stage == "attach":
        attach(args.folder, args.model, args.threshold, args.taught)


if __name__ == "__main__":
    main()
