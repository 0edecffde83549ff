"""Batches of rows, drawn from all that there is or from recordings that are heard as steps go by.

A corpus is read in LANES lanes, in memory that does not grow with it. Each lane holds a window of shards, goes through
them in an order of its own, and puts the next one in place of the oldest every few steps. A row follows from the seed,
the step and its number alone: training goes on at any step without a look at earlier ones, and how many processes and
workers share the lanes changes nothing. Knows nothing of files, of audio or of losses.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from streamcab.errors import ConfigError
from streamcab.nn.distiller import Distiller
from streamcab_train.context_keys import ContextKeys, StageKeys
from streamcab_train.copies import Copy, together
from streamcab_train.distributed import ALONE, ProcessGroup
from streamcab_train.hearing import Hearing
from streamcab_train.pool import die_with_parent
from streamcab_train.pupil import Batch, batch_of
from streamcab_train.rows import Row, Rows
from streamcab_train.shards import Floats, Halves, Ints, read_targets
from streamcab_train.voices import Parts, Voice

LANES = 8
"""The number of processes divides it."""
AHEAD = 16
"""Steps whose rows a worker has ready."""
LENGTHS_S = (2.0, 3.0, 5.0, 8.0, 15.0)
"""Of rows, one of these for each step, once labels or opinions teach; before, the fourth."""
OF_CLASS = 0.6
"""The part of a step's rows that is of a class then."""


class Source(Protocol):
    """What rows are drawn from."""

    def rows(self, lane: int, step: int) -> Rows:
        """Return the rows that a lane holds at a step; a lane's steps come in rising order."""


@dataclass(frozen=True)
class Kept:
    """The same at every step, for every lane."""

    all: Rows

    def rows(self, lane: int, step: int) -> Rows:
        """Return the rows that a lane holds at a step; a lane's steps come in rising order."""
        return self.all


@dataclass(frozen=True)
class Corpus:
    """Clips in shards, and what the teacher says of them.

    Attributes:
        voices: The clips.
        shards: Numbers of clips, by shard.
        targets: The folder that `hear_shards` filled.
        frames_per_s: Frame rate of the teacher.
        seconds: Length of each clip, (clips,); 0 where it could not be read.
        hearing: Hears them.
    """

    voices: Sequence[Voice]
    shards: Sequence[Ints]
    targets: Path
    frames_per_s: float
    seconds: Floats
    hearing: Hearing


@dataclass(frozen=True)
class _Held:
    clips: Ints
    copy: Copy
    frames: list[Halves]


class Streamed:
    """The clips of a corpus that teach, shard by shard."""

    def __init__(
        self,
        corpus: Corpus,
        parts: Parts,
        opinions: Floats,
        stage: StageKeys,
        keys: ContextKeys,
        distiller: Distiller | None = None,
    ) -> None:
        """Take `opinions` (clips, classes + 1); with a `distiller` rows are of its a_t, not of samples."""
        assert keys.stream is not None, "a recipe with [stream]"
        self._corpus, self._parts, self._opinions = corpus, parts, opinions
        self._distiller, self._window, self._shaken = distiller, keys.stream.window, stage.shaken
        self._interval_s, self._seed = keys.architecture.interval_s, [keys.seed, *stage.name.encode()]
        self._numbers = [n for n, shard in enumerate(corpus.shards) if parts.teaches[shard].any()]
        shard_s = float(corpus.seconds[parts.teaches].sum()) / len(self._numbers)
        step_s = stage.intervals * self._interval_s
        self.every = max(round(keys.stream.hearings * shard_s * LANES / step_s), 1)
        """Steps for which a lane holds a shard in each place of its window."""
        self._held: dict[int, dict[int, _Held]] = {}
        self._rows: dict[int, Rows] = {}

    def rows(self, lane: int, step: int) -> Rows:
        """Return the rows that a lane holds at a step; a lane's steps come in rising order."""
        # The lanes change in turns, so that hearing is spread over the steps.
        first = (step + lane * self.every // LANES) // self.every
        wanted, before = range(first, first + self._window), self._held.get(lane, {})
        if list(before) != list(wanted):
            held = {n: before.get(n) or self._hear(n * LANES + lane) for n in wanted}
            copy, clips = together([one.copy for one in held.values()]), 0
            for n, one in held.items():
                # In the same memory, so that nothing is held twice.
                held[n] = replace(one, copy=copy.some(clips, len(one.clips)))
                clips += len(one.clips)
            self._held[lane], self._rows[lane] = held, self._drawn_from(list(held.values()), copy)
        return self._rows[lane]

    def _hear(self, place: int) -> _Held:
        """Hear the shard at a place of the order in which the corpus is read, over and over."""
        time, at = divmod(place, len(self._numbers))
        number = int(np.random.default_rng([*self._seed, time]).permutation(self._numbers)[at])
        shard, targets = self._corpus.shards[number], read_targets(self._corpus.targets, number)
        teaches = self._parts.teaches[shard]
        clips = shard[teaches]
        copy = self._corpus.hearing.anew(clips.tolist(), time)
        if self._distiller is not None:
            copy = distilled(self._distiller, copy)
        return _Held(clips, copy, [frames for frames, t in zip(targets, teaches, strict=True) if t])

    def _drawn_from(self, held: Sequence[_Held], copy: Copy) -> Rows:
        clips = np.concatenate([one.clips for one in held])
        return Rows(
            [self._corpus.voices[i] for i in clips],
            self._parts.of(clips),
            [copy],
            list(chain.from_iterable(one.frames for one in held)),
            self._corpus.frames_per_s,
            self._opinions[clips],
            self._interval_s,
            shaken=self._shaken,
        )


class Stream(IterableDataset[list[tuple[int, Row]]]):
    """For each step from `begun` on, the rows of this process and worker, with their numbers in the batch."""

    def __init__(
        self, source: Source, stage: StageKeys, keys: ContextKeys, begun: int, ranks: ProcessGroup = ALONE
    ) -> None:
        """Raise ConfigError if the number of processes does not divide the lanes."""
        if LANES % ranks.size:
            raise ConfigError(f"{ranks.size} processes cannot share {LANES} lanes; start 1, 2, 4 or 8")
        self._source, self._stage, self._begun, self._ranks = source, stage, begun, ranks
        self._seed, self._arch = [keys.seed, *stage.name.encode()], keys.architecture

    def __iter__(self) -> Iterator[list[tuple[int, Row]]]:
        """Yield a worker's share, as DataLoader asks."""
        worker, ranks = get_worker_info(), self._ranks
        turn, turns = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        for step in range(self._begun, self._stage.steps):
            length, count, of_class = self.plan(step)
            rows = []
            for k in range(count):
                lane = (step + k) % LANES
                if lane % ranks.size == ranks.rank and lane // ranks.size % turns == turn:
                    some, rng = self._source.rows(lane, step), np.random.default_rng([*self._seed, step, k])
                    rows.append(
                        (k, some.of_class(rng, length) if k < of_class else some.of_speech(rng, length))
                    )
            yield rows

    def plan(self, step: int) -> tuple[int, int, int]:
        """Return the intervals of each row of a step, the rows, and how many of these, the first ones, are of a class.

        Both numbers are multiples of the number of processes, so that these have equal shares.
        """
        stage, labelled = self._stage, self._stage.opinion + self._stage.label > 0
        rng = np.random.default_rng([*self._seed, step])
        seconds = float(rng.choice(LENGTHS_S)) if labelled else LENGTHS_S[3]
        length = min(self._arch.intervals(seconds), stage.intervals)
        count = max(stage.intervals // length, 2)
        of_class = max(round(OF_CLASS * (stage.intervals // length)), 1) if labelled else 0
        size = self._ranks.size
        return length, -(-count // size) * size, -(-of_class // size) * size


def batches(stream: Stream, workers: int) -> Iterator[Batch]:
    """Yield this process' share of each batch; with `workers` processes that hear and draw ahead of the training."""
    shares = iter(
        DataLoader(
            stream,
            batch_size=None,
            num_workers=workers,
            # Fresh processes: torch's threads do not survive a fork.
            multiprocessing_context="spawn" if workers else None,
            prefetch_factor=AHEAD if workers else None,
            worker_init_fn=die_with_parent,
        )
    )
    # They come in turns, one of each worker.
    for first in shares:
        rows = [*first, *chain.from_iterable(next(shares) for _ in range(workers - 1))]
        yield batch_of([row for _, row in sorted(rows, key=lambda numbered: numbered[0])])


@torch.inference_mode()
def distilled(distiller: Distiller, copy: Copy) -> Copy:
    """Return the same clips, x their a_t from a distiller as it stands."""
    distiller.eval()
    a = np.empty((len(copy.votes), distiller.norm.num_features), np.float16)
    for i in range(len(copy.length)):
        x, _ = copy.clip(i)
        if len(x):
            at = int(copy.start[i])
            a[at : at + len(x)] = distiller(torch.from_numpy(x.reshape(1, -1)))[0].numpy()
    return Copy(a, copy.votes, copy.start, copy.length, copy.speed)
