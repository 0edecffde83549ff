"""Evaluation of a trained model, for `streamcab evaluate`.

Connects the other files: selection of clips, input conditions, scores and the report. Owns the writing of temperature
and threshold to a checkpoint. Knows nothing of how a figure is computed or shown.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from streamcab.errors import ConfigError
from streamcab.nn import checkpoint
from streamcab.nn.checkpoint import Checkpoint
from streamcab.nn.confidence import Confidence
from streamcab_train import figures
from streamcab_train.calibration import abstain_below, fitted
from streamcab_train.conditions import OFFLINE, conditions
from streamcab_train.predict import hear
from streamcab_train.report import render, write
from streamcab_train.selection import choose


def evaluate(
    data: Path,
    model: Path | None,
    cache: Path,
    *,
    split: str = "test",
    split_column: str = "",
    label_column: str = "",
    out: Path | None = None,
    fit: Path | None = None,
    abstain_accuracy: float | None = None,
    allow_shared: bool = False,
    draws: int = 2000,
    device: str = "cpu",
    threads: int | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Evaluate a model on a manifest; print the report.

    Args:
        data: The manifest.
        model: Checkpoint; by default the bundled one.
        cache: Folder of cached features.
        split: train, validation, test or all; see `selection.py`.
        split_column: Column of the manifest that holds the split.
        label_column: Column of the labels.
        out: Folder that the report is written to.
        fit: Fit the temperature on the validation clips, and write the model with it (and the threshold, if
            `abstain_accuracy` is given) to this file.
        abstain_accuracy: Choose the threshold below which not to answer, on the validation clips.
        allow_shared: Accept speakers that the model was trained on.
        draws: Draws of the bootstrap.
        device: Device, by torch's name.
        threads: Threads of torch, for the whole process; by default torch's own choice.
        console: Where the report is printed.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    console = console or Console()
    path = checkpoint.find(model)
    loaded = checkpoint.load(path)
    loaded.model.to(device)
    chosen = choose(
        data,
        loaded,
        cache,
        split=split,
        split_column=split_column,
        label_column=label_column,
        allow_shared=allow_shared,
        fitting=fit is not None or abstain_accuracy is not None,
    )
    if (fit is not None or abstain_accuracy is not None) and not chosen.validation:
        raise ConfigError("nothing says which clips are for validation: give --split-column")
    dropped = chosen.dropped.copy()
    ways = conditions(loaded, device)
    answers = hear(loaded, chosen, chosen.clips, ways, dropped, console)
    card, held = dict(loaded.card), None
    if fit is not None or abstain_accuracy is not None:
        held = hear(loaded, chosen, chosen.validation, {OFFLINE: ways[OFFLINE]}, Counter(), console)
    if fit is not None and held is not None:
        card["calibration"] = fitted(held.by_condition[OFFLINE], held.truth, held.speakers)
    if abstain_accuracy is not None and held is not None:
        p = Confidence.of(card)(held.by_condition[OFFLINE])
        abstain: dict[str, Any] = {
            "accuracy": abstain_accuracy,
            "below": abstain_below(p, held.truth, abstain_accuracy),
        }
        abstain |= {"fitted_on": "validation", "clips": len(held.clips)}
        abstain |= {k: v for k, v in card.get("abstain", {}).items() if k == "other"}
        card["abstain"] = abstain
    if fit is not None:
        checkpoint.save(Checkpoint(loaded.model.cpu(), card), fit)
    served = Confidence.of(card)
    seconds = figures.by_seconds(answers, draws)
    report = {
        "model": figures.about(loaded, path),
        "data": figures.who(chosen, answers, split, dropped, loaded.architecture.labels),
        "scores": figures.overall(answers, answers.by_condition[OFFLINE], loaded.architecture.labels, draws),
        "conditions": figures.by_condition(answers, loaded.architecture.gate, draws),
        "seconds": seconds,
        "enough": figures.enough(seconds),
        "calibration": figures.calibration(answers, served, card.get("calibration")),
        "coverage": figures.by_coverage(answers, served),
        "abstain": figures.abstaining(answers, served, card.get("abstain")),
        "groups": figures.by_trait(answers, chosen, loaded.architecture.labels, draws),
    }
    if out is not None:
        write(report, out)
    console.print(render(report), highlight=False, markup=False, soft_wrap=True)
    return report
