"""The clips of several corpora as one list, and which of them teach, which judge, and which are left out whole.

A corpus is a CSV manifest with columns path and accent; corpus and group, where it has them, else the folder's name and
the speaker. A third of the groups of each corpus and class judges: no stage hears them, teachers' opinions included.
Knows nothing of audio.
"""

import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from streamcab.errors import ConfigError, CorpusError

if TYPE_CHECKING:
    from streamcab_train.context_keys import ContextKeys

KEPT = 3
"""One in this many groups of a corpus and class is held out."""
NO_CLASS = -1


@dataclass(frozen=True)
class Voice:
    """One clip. label: index of its class, or NO_CLASS; accent: empty where it is not known; known: its group is a
    speaker by name, no cluster of voices that sound alike."""

    path: Path
    corpus: str
    group: str
    accent: str
    label: int
    known: bool = False


@dataclass(frozen=True)
class Parts:
    """The use of each clip of a list, all (n,) bool.

    Attributes:
        teaches: It is trained on.
        judges: It is of a class, and held out.
        stranger: Its accent is of no class, and it is trained on as such.
        left_out: Its accent is of no class, and it is never trained on: strangers are judged by these.
    """

    teaches: NDArray[np.bool_]
    judges: NDArray[np.bool_]
    stranger: NDArray[np.bool_]
    left_out: NDArray[np.bool_]

    def of(self, clips: NDArray[np.int64]) -> "Parts":
        """Return the use of some of the clips."""
        return Parts(*(use[clips] for use in (self.teaches, self.judges, self.stranger, self.left_out)))


def read_voices(manifest: Path, classes: Mapping[str, int]) -> list[Voice]:
    """Read the clips of a corpus; `classes` gives the class of an accent. CorpusError in one line."""
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as text:
            rows = list(csv.DictReader(text, strict=True))
    except OSError as error:
        raise CorpusError(f"cannot read the manifest {manifest}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{manifest} is not a CSV file in UTF-8: {error}") from None
    found = []
    for n, row in enumerate(rows, 2):
        path, accent = (row.get("path") or "").strip(), (row.get("accent") or "").strip()
        corpus = (row.get("corpus") or "").strip() or manifest.parent.name
        group = (row.get("group") or "").strip() or (row.get("speaker") or "").strip()
        if not path or not group:
            raise CorpusError(f"{manifest} row {n}: no {'group or speaker' if path else 'path'}")
        whole = manifest.parent / path
        if not whole.is_file():
            raise CorpusError(f"{manifest} row {n}: no such file: {whole}")
        known = bool((row.get("speaker") or "").strip())
        found.append(Voice(whole, corpus, f"{corpus}:{group}", accent, classes.get(accent, NO_CLASS), known))
    return found


def deal(
    voices: Sequence[Voice], seed: int, *, strangers: Collection[str], left_out: Collection[str]
) -> Parts:
    """Choose the clips to train on and the clips to hold out.

    Args:
        voices: All clips.
        seed: Of the draw.
        strangers: Accents of no class to train on as such.
        left_out: Accents of no class to hold out.
    """
    labels = np.array([v.label for v in voices])
    corpora, accents = np.array([v.corpus for v in voices]), np.array([v.accent for v in voices])
    groups = np.array([v.group for v in voices])
    rng, kept = np.random.default_rng(seed), set[str]()
    for corpus in sorted(set(corpora.tolist())):
        for label in range(labels.max() + 1):
            own = sorted(set(groups[(corpora == corpus) & (labels == label)].tolist()))
            kept |= {str(g) for g in rng.permutation(own)[: round(len(own) / KEPT)]}
    apart = np.array([v.group in kept for v in voices])
    unheard = np.isin(accents, sorted(left_out)) & (labels == NO_CLASS)
    return Parts(
        teaches=~apart & ~unheard,
        judges=apart & (labels != NO_CLASS),
        stranger=~apart & ~unheard & np.isin(accents, sorted(strangers)) & (labels == NO_CLASS),
        left_out=unheard,
    )


def dealt(keys: "ContextKeys", manifests: Sequence[Path]) -> tuple[list[Voice], Parts]:
    """Read the clips of a recipe's corpora, and choose their uses by its draw.

    Raises:
        ConfigError: No clip is of the recipe's corpora.
        CorpusError: A manifest cannot be read, in one line.
    """
    classes = {accent: keys.labels.index(name) for accent, name in keys.classes.items()}
    voices = [voice for manifest in manifests for voice in read_voices(manifest, classes)]
    voices = [v for v in voices if not keys.corpora or v.corpus in keys.corpora]
    if not voices:
        raise ConfigError(
            f"no clip is of the recipe's corpora: {', '.join(keys.corpora) or 'no manifest has any'}"
        )
    return voices, deal(voices, keys.seed, strangers=keys.strangers, left_out=keys.left_out)


def keep_inner(
    voices: Sequence[Voice], parts: Parts, seed: int, one_in: int
) -> tuple[Parts, NDArray[np.int64]]:
    """Keep one in so many of the groups that teach a class from teaching, at least one where there are two.

    Returns:
        The other uses as before, and the clips of a class of those groups, in random order: they choose among weights.
    """
    rng = np.random.default_rng([seed, 4])
    own: dict[tuple[str, int], set[str]] = {}
    for voice, teaches in zip(voices, parts.teaches, strict=True):
        if teaches and voice.label != NO_CLASS:
            own.setdefault((voice.corpus, voice.label), set()).add(voice.group)
    kept = set[str]()
    for _, some in sorted(own.items()):
        kept |= set(rng.permutation(sorted(some))[: max(len(some) // one_in, min(len(some) - 1, 1))].tolist())
    inner = parts.teaches & np.array([v.group in kept for v in voices])
    clips = np.flatnonzero(inner & np.array([v.label != NO_CLASS for v in voices]))
    return replace(parts, teaches=parts.teaches & ~inner, stranger=parts.stranger & ~inner), rng.permutation(
        clips
    )


def of_everyone(parts: Parts) -> Parts:
    """Return the same parts, but those who judge teach; accents that were left out still do not."""
    nobody = np.zeros_like(parts.judges)
    return Parts(parts.teaches | parts.judges, nobody, parts.stranger, nobody)


def taught_by(voices: Sequence[Voice], parts: Parts, labels: Sequence[str]) -> dict[str, object]:
    """Count clips and groups that teach a class, by class and corpus, as a card has them."""
    clips: dict[str, dict[str, int]] = {label: {} for label in labels}
    groups: dict[str, dict[str, set[str]]] = {label: {} for label in labels}
    for voice, teaches in zip(voices, parts.teaches, strict=True):
        if teaches and voice.label != NO_CLASS:
            label = labels[voice.label]
            clips[label][voice.corpus] = clips[label].get(voice.corpus, 0) + 1
            groups[label].setdefault(voice.corpus, set()).add(voice.group)
    counted = {label: {corpus: len(some) for corpus, some in own.items()} for label, own in groups.items()}
    return {"clips": clips, "groups": counted}
