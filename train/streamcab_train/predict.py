"""Predictions for all clips of a split under every condition, from which every figure is computed.

Knows nothing of scores, or of how a split came about.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from streamcab.errors import CorpusError
from streamcab.inference.engine_output import voting
from streamcab.nn.checkpoint import Checkpoint
from streamcab.source.file import read_audio
from streamcab_train.conditions import OFFLINE, Condition
from streamcab_train.manifest import Clip
from streamcab_train.selection import Chosen, model_recipe
from streamcab_train.twins import fingerprint, was_taught

Floats = NDArray[np.float64]

SECONDS = (5, 10, 20, 30, 60)


@dataclass(frozen=True)
class ClipPredictions:
    """Predictions for n clips.

    `truth` (n,) and `seconds`, the length of each clip, (n,); probabilities (n, m) by condition and by seconds heard.
    """

    clips: tuple[Clip, ...]
    truth: NDArray[np.int64]
    seconds: Floats
    by_condition: dict[str, Floats]
    by_seconds: dict[int, Floats]

    @property
    def speakers(self) -> list[str]:
        """A clip of an unknown speaker counts as one by himself."""
        return [clip.speaker or clip.path for clip in self.clips]


def hear(
    model: Checkpoint,
    chosen: Chosen,
    clips: Sequence[Clip],
    ways: dict[str, Condition],
    dropped: Counter[str],
    console: Console,
) -> ClipPredictions:
    """Predict clips under each condition; as in training, short and unvoiced clips are dropped."""
    arch, shortest = model.architecture, model_recipe(model).corpus.shortest_s
    other = f"gate {'off' if arch.gate else 'on'}"
    kept, truth, length = [], [], []
    by_way: dict[str, list[Floats]] = {}
    by_seconds: dict[int, list[Floats]] = {s: [] for s in SECONDS}
    for clip in track(clips, "clips", console=console, transient=True, disable=not console.is_terminal):
        samples, rate = read_audio(chosen.file(clip))
        if not chosen.known and was_taught(model.card, fingerprint(samples, rate)):
            raise CorpusError(
                f"{chosen.manifest} row {clip.row}: the model was trained on this recording, so its score would not be "
                "valid; leave it out, or add --allow-shared-speakers if that is intended"
            )
        votes = {name: way(samples, rate) for name, way in ways.items()}
        first = votes[OFFLINE]
        if len(first.kind) * arch.interval_s < shortest:
            dropped[f"shorter than {shortest:g} s"] += 1
            continue
        if not voting(first.kind, arch.gate).any():
            dropped["nothing voiced"] += 1
            continue
        kept.append(clip)
        truth.append(arch.labels.index(clip.label))
        length.append(len(samples) / rate)
        for name, v in votes.items():
            by_way.setdefault(name, []).append(v.mean(arch.gate))
        by_way.setdefault(other, []).append(first.mean(not arch.gate))
        for s in SECONDS:
            cut = first
            if arch.normaliser != "running" and s < length[-1]:
                # The normaliser depends on the length heard, so a shorter clip is not a prefix of a longer one.
                cut = ways[OFFLINE](samples[: s * rate], rate)
            by_seconds[s].append(cut.mean(arch.gate, arch.intervals(s)))
    if not kept:
        raise CorpusError(f"{chosen.manifest}: every clip is too short or without speech")
    return ClipPredictions(
        tuple(kept),
        np.array(truth),
        np.array(length),
        {name: np.stack(rows) for name, rows in by_way.items()},
        {s: np.stack(rows) for s, rows in by_seconds.items()},
    )
