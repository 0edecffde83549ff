"""Parts that are added to a trained model: the words of such a command, the clips heard, and the model with the part.

Knows nothing of what a part learns.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch

from streamcab.dsp.normalise import NormalisedBatch
from streamcab.errors import StreamcabError
from streamcab.inference import offline
from streamcab.nn.checkpoint import Checkpoint
from streamcab.nn.weights import Weights, detector_of
from streamcab.source.file import read_audio
from streamcab_train.voices import Voice

WRITTEN_ANEW = "a checkpoint with a trunk; it is written anew"
TELL = 500
"""Clips between two messages of progress."""


def hear_each(
    voices: Sequence[Voice], model: Checkpoint, say: Callable[[str], object], seconds: float | None = None
) -> Iterator[NormalisedBatch]:
    """Yield what a model hears of each clip.

    Args:
        voices: The clips.
        model: Its front end and speech detector hear them.
        say: Receives progress messages.
        seconds: Of each clip at most; all of it unless given.
    """
    detector = detector_of(model.net)
    for i, voice in enumerate(voices, 1):
        samples, rate = read_audio(voice.path)
        length = None if seconds is None else round(seconds * rate)
        yield offline.features(samples[:length], rate, model.architecture, detector)
        if i % TELL == 0:
            say(f"{i} of {len(voices)} clips heard")


def with_head(model: Checkpoint, weights: Weights, about: Mapping[str, object]) -> Checkpoint:
    """Return a checkpoint of these weights with the card of `model`, to which `about` and their number are added."""
    found = Checkpoint(weights)
    found.card = {**model.card, "parameters": sum(p.numel() for p in found.model.parameters()), **about}
    return found


def words_for(description: str, model: str) -> ArgumentParser:
    """Return the words that such commands have: MODEL, of which `model` says what it is, --config and --data."""
    words = ArgumentParser(description=description)
    words.add_argument("model", type=Path, help=model)
    words.add_argument("--config", type=Path, required=True, help="the recipe: whom it keeps apart")
    words.add_argument("--data", type=Path, nargs="+", required=True, help="manifests")
    return words


def execute(
    words: ArgumentParser, begin: Callable[[Namespace], object], arguments: Sequence[str] | None
) -> None:
    """Run a command on one thread; its errors are one line."""
    given = words.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        begin(given)
    except StreamcabError as error:
        sys.exit(f"error: {error}")
