"""Shards: some clips that are read together, and beside each what the teacher says of them, computed once and small.

A group stays in one shard, and each corpus and class is spread evenly over all shards, so that any few of them are like
the whole. A shard's targets are one safetensors file of `folder`: the components of every frame in eight bits, and the
mean frame of every clip. The components are fitted on the first shards, SAMPLE clips. What was killed goes on where it
was, and several processes share the work. Knows nothing of nets, of what is heard, or of steps.
"""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from streamcab.errors import CorpusError
from streamcab_train.components import Components, fit_components
from streamcab_train.context_keys import ContextKeys
from streamcab_train.copies import read_clip
from streamcab_train.distributed import ALONE, ProcessGroup
from streamcab_train.run_folder import RUN, same_run
from streamcab_train.targets import Encode, telling
from streamcab_train.voices import Parts, Voice

SAMPLE = 5000
"""Clips on which the components are fitted: their frames, 50 kB a second, stay on the disk until these are."""
MOST = 6.0
"""The largest component that is told apart, in deviations; 1/127 of it is one step."""
COMPONENTS = "components.safetensors"

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Halves = NDArray[np.float16]


def deal_shards(voices: Sequence[Voice], wanted: NDArray[np.bool_], size: int, seed: int) -> list[Ints]:
    """Deal the clips that are `wanted`, (n,), into shards of about `size` clips; numbers of clips, by shard.

    A group of more than `size` clips is cut.
    """
    own: dict[tuple[str, int, str], list[int]] = defaultdict(list)
    for i in np.flatnonzero(wanted).tolist():
        own[voices[i].corpus, voices[i].label, voices[i].group].append(i)
    cells: dict[tuple[str, int], list[list[int]]] = defaultdict(list)
    for (corpus, label, _), clips in sorted(own.items()):
        cells[corpus, label] += [clips[at : at + size] for at in range(0, len(clips), size)]
    rng = np.random.default_rng([seed, 3])
    placed: list[tuple[float, list[int]]] = []
    for pieces in cells.values():
        # One in each stretch of equal length: spread evenly, and in no order.
        where = (rng.permutation(len(pieces)) + rng.random(len(pieces))) / len(pieces)
        placed += zip(where.tolist(), pieces, strict=True)
    shards: list[list[int]] = [[]]
    for _, piece in sorted(placed):
        if shards[-1] and len(shards[-1]) + len(piece) > size:
            shards.append([])
        shards[-1] += piece
    return [np.array(shard, np.int64) for shard in shards if shard]


def hear_shards(
    voices: Sequence[Voice],
    parts: Parts,
    shards: Sequence[Ints],
    encode: Encode,
    keys: ContextKeys,
    folder: Path,
    say: Callable[[str], object],
    ranks: ProcessGroup = ALONE,
) -> Components:
    """Have the teacher hear all shards that it has not heard. A clip that cannot be read has no frames, and is named.

    Raises:
        ConfigError: `folder` is of other clips, or of another recipe.
        CorpusError: It cannot be written.
    """

    def hear(number: int) -> list[Halves]:
        found = []
        for i in shards[number].tolist():
            try:
                found.append(encode(*read_clip(voices[i].path)).astype(np.float16))
            except CorpusError as error:
                say(f"left out: {error}")
                found.append(np.zeros((0, 0), np.float16))
        width = max(f.shape[1] for f in found)
        return [f if len(f) else np.zeros((0, width), np.float16) for f in found]

    first = int(np.searchsorted(np.cumsum([len(shard) for shard in shards]), SAMPLE)) + 1
    sample = range(min(first, len(shards)))
    whole = [folder / f"frames-{k:06d}.safetensors" for k in range(len(shards))]
    done = [folder / f"{k:06d}.safetensors" for k in range(len(shards))]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if ranks.first:
            same_run(folder / RUN, _identity(voices, parts, shards, keys))
        if not (folder / COMPONENTS).exists():
            for k in _own([k for k in sample if not whole[k].exists()], ranks):
                _write(whole[k], _packed(hear(k)))
                say(f"the teacher has heard shard {k + 1} of {len(shards)}")
            ranks.gather(None)
            if ranks.first:
                some = [frames for k in sample for frames in _unpacked(load_file(whole[k]))]
                clips = np.concatenate([shards[k] for k in sample])
                _save_components(folder / COMPONENTS, _fit(some, clips, voices, parts, keys))
        ranks.gather(None)
        components = load_components(folder / COMPONENTS)
        for k in _own([k for k in range(len(shards)) if not done[k].exists()], ranks):
            frames = _unpacked(load_file(whole[k])) if whole[k].exists() else hear(k)
            _write(done[k], _told(frames, components))
            whole[k].unlink(missing_ok=True)
            say(f"the teacher's word on shard {k + 1} of {len(shards)} is kept")
        ranks.gather(None)
    except OSError as error:
        raise CorpusError(
            f"cannot write the teacher's targets to {folder}: {error.strerror or error}"
        ) from None
    return components


def read_targets(folder: Path, number: int) -> list[Halves]:
    """Return the components of each clip's frames, (n, numbers), of a shard."""
    kept = load_file(folder / f"{number:06d}.safetensors")
    codes = (kept["codes"].astype(np.float32) * (MOST / 127)).astype(np.float16)
    return np.split(codes, np.cumsum(kept["length"])[:-1])


def read_means(folder: Path, shards: Sequence[Ints], clips: int) -> tuple[Floats, Ints]:
    """Return the mean frame of each of `clips` clips, (clips, width), and how many frames it has; 0 if it is in no
    shard."""
    means, length = None, np.zeros(clips, np.int64)
    for number, shard in enumerate(shards):
        with safe_open(folder / f"{number:06d}.safetensors", "np") as file:
            mean = file.get_tensor("means")
            length[shard] = file.get_tensor("length")
        if means is None:
            means = np.zeros((clips, mean.shape[1]), np.float32)
        means[shard] = mean
    assert means is not None, "a corpus of at least one shard"
    return means, length


def load_components(file: Path) -> Components:
    """Load components as `hear_shards` left them."""
    with safe_open(file, "np") as kept:
        place, mean, directions = (kept.get_tensor(name) for name in ("place", "mean", "directions"))
        told = json.loads(kept.metadata()["told"])
    return Components(place, mean, directions, told["principal"], told["told"])


def _identity(
    voices: Sequence[Voice], parts: Parts, shards: Sequence[Ints], keys: ContextKeys
) -> dict[str, object]:
    """Return what must stay the same for the targets of a folder to be of these clips."""
    clips = hashlib.sha256()
    for i in np.concatenate(shards):
        voice = voices[i]
        clips.update(
            f"{voice.path.name} {voice.corpus} {voice.group} {voice.accent} {parts.teaches[i]}\n".encode()
        )
    return {
        "clips": clips.hexdigest()[:16],
        "shards": [len(shard) for shard in shards],
        "components": keys.components,
        "penalty": keys.penalty,
    }


def _own(left: Sequence[int], ranks: ProcessGroup) -> Sequence[int]:
    """Return this process' share of what is left; all have looked before any of them works."""
    ranks.gather(None)
    return left[ranks.rank :: ranks.size]


def _fit(
    frames: Sequence[Halves], clips: Ints, voices: Sequence[Voice], parts: Parts, keys: ContextKeys
) -> Components:
    """Fit components to the frames of some clips, those of which that teach and can be read."""
    use = [j for j, i in enumerate(clips) if parts.teaches[i] and len(frames[j])]
    some = [frames[j] for j in use]
    means = np.stack([f.astype(np.float32).mean(0) for f in some])
    return fit_components(
        some, keys.components, telling(keys, [voices[clips[j]] for j in use], parts.of(clips[use]), means)
    )


def _told(frames: Sequence[Halves], components: Components) -> dict[str, NDArray[np.generic]]:
    """Return what is kept of a shard's frames."""
    width, numbers = components.directions.shape
    codes = [np.zeros((0, numbers), np.int8)]
    means = np.zeros((len(frames), width), np.float16)
    for j, clip in enumerate(frames):
        if len(clip):
            x = components(clip.astype(np.float32))
            codes.append(np.rint(np.clip(x / MOST, -1, 1) * 127).astype(np.int8))
            means[j] = clip.astype(np.float32).mean(0)
    length = np.array([len(clip) for clip in frames], np.int64)
    return {"codes": np.concatenate(codes), "length": length, "means": means}


def _packed(frames: Sequence[Halves]) -> dict[str, NDArray[np.generic]]:
    return {"x": np.concatenate(frames), "length": np.array([len(f) for f in frames], np.int64)}


def _unpacked(kept: dict[str, NDArray[np.generic]]) -> list[Halves]:
    return np.split(kept["x"], np.cumsum(kept["length"])[:-1])


def _save_components(file: Path, components: Components) -> None:
    arrays = {name: getattr(components, name) for name in ("place", "mean", "directions")}
    told = {"principal": components.principal, "told": components.told}
    _write(file, arrays, {"told": json.dumps(told)})


def _write(
    file: Path, arrays: dict[str, NDArray[np.generic]], metadata: dict[str, str] | None = None
) -> None:
    part = file.with_suffix(f".{os.getpid()}.part")
    save_file({name: np.ascontiguousarray(a) for name, a in arrays.items()}, part, metadata)
    part.replace(file)
