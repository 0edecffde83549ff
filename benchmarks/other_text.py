"""Does the evidence rest on the text? Fitted on one half of each reading, judged on the same half and on the other.

    python benchmarks/other_text.py saa8k/manifest.csv [--repeats 5] [--config configs/evidence.toml]

All of saa8k reads one text, so what lagged moments tell could be its words. Here the halves of a clip are two texts:
the evidence layer of a recipe alone, on speaker-disjoint folds, fitted on one half of the training voices
and judged on the same or the other half of new voices. Wants the taught distiller that the recipe begins with. Where a
recipe has phones, they are taught anew by the half that is fitted on.
"""

import argparse
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from streamcab_train.dataset import gather
from streamcab_train.distilled import distilled
from streamcab_train.evidence import discriminant
from streamcab_train.features import load_features
from streamcab_train.manifest import read_manifest
from streamcab_train.phones import learn_phones, phone_names, read_alignment
from streamcab_train.pretrain import aligned_clips, begin_from, strangers
from streamcab_train.recipe import Recipe, read_recipe
from streamcab_train.run_folder import cache_folder
from streamcab_train.scores import confusion_matrix, scores
from streamcab_train.split import fold_clips
from streamcab_train.step import summary

from streamcab.dsp.gate import VOICED
from streamcab.evidence.layer import evidence_of
from streamcab.nn.cabcnn import CabCnn
from streamcab.nn.weights import detector_of

RECIPE = Path(__file__).parent.parent / "configs" / "phones.toml"
PARTS: dict[str, Callable[[int], slice]] = {
    "first half": lambda n: slice(0, n // 2),
    "second half": lambda n: slice(n // 2, None),
    "all": lambda n: slice(None),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Evidence on a text that it was not fitted on.")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--config", type=Path, default=RECIPE)
    words = parser.parse_args()
    torch.set_num_threads(1)
    recipe = read_recipe(words.config)
    dataset = gather(read_manifest(words.manifest, recipe.corpus), recipe, cache_folder())
    arch, start = dataset.architecture, Path(recipe.training.start)
    features = distilled(dataset.features, arch, start, cache_folder())
    model = CabCnn(arch).eval()
    begin_from(model, start)
    heard = []
    for i in range(len(dataset.clips)):
        a, kind = features.clip(i)
        with torch.inference_mode():
            heard.append((summary(model, torch.from_numpy(a[None].copy()))[0].numpy(), kind == VOICED))
    strange = strangers_phones(words.manifest, recipe, model) if arch.phones else []
    y = np.array([arch.labels.index(clip.label) for clip in dataset.clips])
    print(
        f"{len(y)} speakers, {words.repeats} x 5 folds; UAR of evidence alone, mean +- deviation over repeats"
    )
    for fitted, cut in PARTS.items():
        if strange:
            # What was taught by all of the text would know the half that is judged.
            model = copy.deepcopy(model)
            learn_phones(
                model,
                [halved(clip, cut) for clip in strange],
                recipe.pretrain.phone_epochs,
                recipe.pretrain.seed,
            )
        evidence = evidence_of(model)
        assert evidence is not None, f"{words.config} has no evidence"
        x = {
            name: np.concatenate([evidence.of_clip(*halved(clip, part))[0] for clip in heard])
            for name, part in PARTS.items()
        }
        for judged in PARTS:
            found = []
            for repeat in range(words.repeats):
                answers = np.zeros_like(y)
                for parts_of in fold_clips(dataset.clips, recipe.split, 5, repeat):
                    test = np.array(parts_of) == "test"
                    weight, bias = discriminant(x[fitted][~test], y[~test], recipe.evidence.shrinkage)
                    answers[test] = (x[judged][test] @ weight.T + bias).argmax(1)
                found.append(scores(confusion_matrix(y, answers, len(arch.labels))))
            uar, recall = [s.uar for s in found], np.mean([s.recall for s in found], 0)
            print(
                f"fitted on {fitted:12} judged on {judged:12} UAR {np.mean(uar):.3f} +- {np.std(uar):.3f}, recall "
                + ", ".join(f"{label} {r:.2f}" for label, r in zip(arch.labels, recall, strict=True)),
                flush=True,
            )


def halved(clip: tuple[NDArray[Any], ...], part: Callable[[int], slice]) -> tuple[NDArray[Any], ...]:
    """Return a part of all columns of a clip."""
    cut = part(len(clip[0]))
    return tuple(column[cut] for column in clip)


def strangers_phones(manifest: Path, recipe: Recipe, model: CabCnn) -> list[tuple[NDArray[Any], ...]]:
    """Return the aligned readings of voices of no class, through the model's distiller."""
    clips = strangers(manifest, recipe.corpus)
    files = [(clip.path, manifest.parent / clip.path) for clip in clips]
    features = load_features(files, model.architecture, cache_folder(), weights=detector_of(model))
    alignment = read_alignment(Path(recipe.pretrain.alignment))
    return list(aligned_clips(model, features, [c.path for c in clips], alignment, phone_names(alignment)))


if __name__ == "__main__":
    main()
