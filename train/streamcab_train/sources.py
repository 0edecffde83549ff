"""What the stages of a recipe draw from, and the teacher's part in it: all in memory, or recordings as they are needed.

Knows nothing of steps, of losses or of the judgement.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from streamcab.dsp.detector import Weights
from streamcab.errors import CorpusError
from streamcab.nn.architecture import Architecture
from streamcab_train.components import Components, fit_components
from streamcab_train.context_keys import ContextKeys, StageKeys, StreamKeys
from streamcab_train.copies import make_copy
from streamcab_train.distributed import ProcessGroup
from streamcab_train.hearing import Hearing
from streamcab_train.judged import Clips
from streamcab_train.pupil import Pupil
from streamcab_train.rows import Rows
from streamcab_train.shards import Floats, deal_shards, hear_shards, read_means
from streamcab_train.stream import LANES, Corpus, Kept, Source, Streamed, distilled
from streamcab_train.targets import Encode, hear_teacher, telling
from streamcab_train.voices import Parts, Voice, of_everyone

Say = Callable[[str], object]


@dataclass(frozen=True)
class Prepared:
    """A corpus that the teacher has heard.

    Attributes:
        parts: The use of each clip; one that cannot be read does not teach.
        components: The teacher's components.
        means: The teacher's mean frame of each clip, (clips, width).
        clips: All clips as the net hears them.
        source: What a stage draws from, given who teaches it, the teacher's opinions and the pupil.
        streamed: Whether recordings are heard as steps go by, so that other processes may do it.
    """

    parts: Parts
    components: Components
    means: Floats
    clips: Clips
    source: Callable[[StageKeys, Parts, Floats, Pupil], Source]
    streamed: bool


@dataclass(frozen=True)
class Recordings:
    """Recordings that a teacher and a net are to hear.

    Attributes:
        voices: The clips.
        parts: The use of each.
        encode: The teacher: samples (n,), rate -> frames (m, width).
        frames_per_s: Frame rate of the teacher.
        hears: The net's architecture, with its speech detector.
        detector: The weights of the detector; without them, intervals vote by level.
    """

    voices: Sequence[Voice]
    parts: Parts
    encode: Encode
    frames_per_s: float
    hears: Architecture
    detector: Weights | None


def keep(keys: ContextKeys, of: Recordings, out: Path, say: Say) -> Prepared:
    """Keep the teacher's frames, the recordings and their copies, in memory and below `out`."""
    voices, parts = of.voices, of.parts
    heard = hear_teacher(voices, of.encode, out / "teacher", say)
    teaches = [frames for frames, t in zip(heard, parts.teaches, strict=True) if t and len(frames)]
    means = np.stack([f.astype(np.float32).mean(0) if len(f) else np.zeros(f.shape[1]) for f in heard])
    means = means.astype(np.float32)
    components = fit_components(teaches, keys.components, telling(keys, voices, parts, means))
    frames = [components(f.astype(np.float32)) for f in heard]
    paths = [voice.path for voice in voices]
    copies = [
        make_copy(paths, of.hears, k, keys.seed, out / "copies", of.detector) for k in range(keys.copies + 1)
    ]

    def source(stage: StageKeys, teaching: Parts, told: Floats, pupil: Pupil) -> Source:
        some = [distilled(pupil.model.distiller, copy) for copy in copies] if stage.distilled else copies
        interval_s = keys.architecture.interval_s
        return Kept(
            Rows(voices, teaching, some, frames, of.frames_per_s, told, interval_s, shaken=stage.shaken)
        )

    return Prepared(parts, components, means, copies[0], source, streamed=False)


def stream(
    keys: ContextKeys, how: StreamKeys, of: Recordings, out: Path, say: Say, ranks: ProcessGroup
) -> Prepared:
    """Keep the teacher's components alone, below `out`."""
    voices, parts = of.voices, of.parts
    wanted = of_everyone(parts) if keys.stages[-1].everyone else parts
    shards = deal_shards(voices, wanted.teaches, how.shard, keys.seed)
    if not shards:
        raise CorpusError("no clip teaches; see the recipe's classes and corpora")
    components = hear_shards(voices, parts, shards, of.encode, keys, out / "targets", say, ranks)
    means, length = read_means(out / "targets", shards, len(voices))
    seconds = (length / of.frames_per_s).astype(np.float32)
    paths, share = [v.path for v in voices], keys.copies / (keys.copies + 1)
    hearing = Hearing(paths, of.hears, of.detector, share, keys.seed)
    corpus = Corpus(voices, shards, out / "targets", of.frames_per_s, seconds, hearing)

    def source(stage: StageKeys, teaching: Parts, told: Floats, pupil: Pupil) -> Source:
        distiller = deepcopy(pupil.model.distiller).cpu() if stage.distilled else None
        usable = replace(teaching, teaches=teaching.teaches & (seconds > 0))
        found = Streamed(corpus, usable, told, stage, keys, distiller)
        if ranks.first:
            say(f"{stage.name}: each of {LANES} lanes has another shard every {found.every} steps")
        return found

    usable = replace(parts, teaches=parts.teaches & (seconds > 0))
    return Prepared(usable, components, means, hearing, source, streamed=True)
