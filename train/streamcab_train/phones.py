"""Training of the phone network: it learns the intended phone of each interval from clips with aligned text.

`streamcab pretrain` calls it for recipes with phones, with speakers outside the classes. The alignment has a line of
JSON for each clip, {"path": ..., "phones": [[name, first, length], ...]}, in hundredths of a second. align.py
writes it. Knows nothing of audio or of other parts of the model.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from streamcab.errors import CorpusError
from streamcab.nn.cabcnn import CabCnn

SILENCE = "SIL"
HUNDREDTH = 0.01
BATCH, RATE, DECAY = 512, 3e-3, 0.01
DROPOUT = 0.2
LINE = 0.3
"""Deviation of the offset added to each cepstrum of an example, to simulate another microphone."""
HELD_OUT = 10
"""One clip in this many is held out for evaluation."""

Phones = list[tuple[str, int, int]]
Aligned = tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int64]]
"""Of a clip: u (N, K), which intervals count (N,), their phones (N,), -1 for none."""


def read_alignment(path: Path) -> dict[str, Phones]:
    """Read the phones of each path of the manifest."""
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
        return {
            row["path"]: [(str(n), int(a), int(b)) for n, a, b in row["phones"]]
            for row in rows
            if row["phones"]
        }
    except OSError as error:
        raise CorpusError(
            f"cannot read the alignment {path}: {error.strerror}; python -m streamcab_train.align makes it"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise CorpusError(f"{path} is no alignment: {error}") from None


def phone_names(aligned: Mapping[str, Phones]) -> tuple[str, ...]:
    """Return all phones of an alignment, silence first."""
    found = {name for phones in aligned.values() for name, _, _ in phones} - {SILENCE}
    return (SILENCE, *sorted(found))


def labelled(phones: Phones, names: Sequence[str], intervals: int, interval_s: float) -> NDArray[np.int64]:
    """Return the phone at the middle of each interval, (intervals,); -1 if there is none."""
    found = np.full(intervals, -1, np.int64)
    middle = (np.arange(intervals) + 0.5) * interval_s / HUNDREDTH
    for name, first, length in phones:
        found[(middle >= first) & (middle < first + length)] = names.index(name)
    return found


def learn_phones(model: CabCnn, clips: Sequence[Aligned], epochs: int, seed: int) -> float:
    """Train the model's phone network; return its accuracy on held-out clips. A function of clips and seed."""
    assert model.phones is not None
    arch, layer = model.architecture, model.phones
    size = 2 * arch.reach + 1
    held = [clip for i, clip in enumerate(clips) if i % HELD_OUT == 0]
    x, y = _examples([clip for i, clip in enumerate(clips) if i % HELD_OUT], size)
    generator = torch.Generator().manual_seed(seed)
    for part in (layer.hidden, layer.out):
        bound = part.in_features**-0.5
        for tensor in (part.weight, part.bias):
            tensor.uniform_(-bound, bound, generator=generator)
    layer.requires_grad_(True)
    adam = torch.optim.AdamW(layer.parameters(), lr=RATE, weight_decay=DECAY)
    steps = max(1, epochs * (len(x) // BATCH))
    step = 0
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        for at in range(0, max(len(x) - BATCH + 1, 1), BATCH):
            chosen = order[at : at + BATCH]
            line = LINE * torch.randn((len(chosen), arch.summary), generator=generator)
            hidden = torch.relu(layer.hidden(x[chosen] + line.repeat(1, size)))
            kept = torch.rand(hidden.shape, generator=generator) >= DROPOUT
            for group in adam.param_groups:
                group["lr"] = RATE * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * min(step / steps, 1))))
            step += 1
            loss = torch.nn.functional.cross_entropy(layer.out(hidden * kept / (1 - DROPOUT)), y[chosen])
            adam.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
    layer.requires_grad_(False)
    _usual(model, clips)
    x, y = _examples(held, size)
    return float((layer(x).argmax(1) == y).float().mean())


def _examples(clips: Sequence[Aligned], size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the context of each labelled interval that counts, (N, size * K), and its phone, (N,)."""
    x, y = [], []
    for u, counts, phones in clips:
        chosen = counts & (phones >= 0)
        x.append(_around(u, counts, size)[chosen])
        y.append(phones[chosen])
    return torch.from_numpy(np.concatenate(x)), torch.from_numpy(np.concatenate(y))


def _around(u: NDArray[np.float32], counts: NDArray[np.bool_], size: int) -> NDArray[np.float32]:
    heard = np.where(counts[:, None], u, np.float32(0)).astype(np.float32)
    padded = np.pad(heard, ((size // 2, size // 2), (0, 0)))
    found: NDArray[np.float32] = np.hstack([padded[k : k + len(u)] for k in range(size)])
    return found


def _usual(model: CabCnn, clips: Sequence[Aligned]) -> None:
    """Return the mean sound of each phone as the network recognises it, each clip relative to its own mean."""
    assert model.phones is not None
    arch = model.architecture
    said, sums, square, n = (
        np.zeros(arch.phones),
        np.zeros((arch.phones, arch.summary)),
        np.zeros(arch.summary),
        0,
    )
    for u, counts, _ in clips:
        around = torch.from_numpy(_around(u, counts, 2 * arch.reach + 1)[counts])
        p = torch.softmax(model.phones(around), 1).double().numpy()
        x = u[counts].astype(np.float64)
        x -= x.mean(0)
        said, sums, square, n = said + p.sum(0), sums + p.T @ x, square + (x * x).sum(0), n + len(x)
    model.phones.usual.copy_(torch.from_numpy(sums / np.maximum(said, 1e-9)[:, None]))
    model.phones.deviation.copy_(torch.from_numpy(np.sqrt(square / max(n, 1))))
