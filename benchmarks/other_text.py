"""Does the evidence rest on the text? Fitted on one half of each reading, judged on the same half and on the other.

    python benchmarks/other_text.py saa8k/manifest.csv [--repeats 5] [--config configs/world.toml]

All of saa8k reads one text, so what lagged moments tell could be its words. Here the halves of a clip are two texts:
the evidence layer of a recipe alone, on speaker-disjoint folds, fitted on one half of the training voices
and judged on the same or the other half of new voices. Wants the taught distiller that the recipe begins with.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from streamcab_train.distilled import distilled
from streamcab_train.evidence import discriminant
from streamcab_train.manifest import read_manifest
from streamcab_train.material import gather
from streamcab_train.recipe import read_recipe
from streamcab_train.run import cache_folder
from streamcab_train.scores import confusion_matrix, scores
from streamcab_train.split import fold_clips
from streamcab_train.step import summary
from streamcab_train.teach import begin_from

from streamcab.model import CabCnn
from streamcab.moments import counted, moments
from streamcab.normalise import VOICED

RECIPE = Path(__file__).parent.parent / "configs" / "evidence.toml"
Floats = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description="Evidence on a text that it was not fitted on.")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--config", type=Path, default=RECIPE)
    words = parser.parse_args()
    torch.set_num_threads(1)
    recipe = read_recipe(words.config)
    material = gather(read_manifest(words.manifest, recipe.corpus), recipe, cache_folder())
    arch, start = material.architecture, Path(recipe.training.start)
    features = distilled(material.features, arch, start, cache_folder())
    model = CabCnn(arch).eval()
    begin_from(model, start)
    parts: dict[str, list[Floats]] = {"first half": [], "second half": [], "all": []}
    for i in range(len(material.clips)):
        a, kind = features.clip(i)
        with torch.inference_mode():
            u = summary(model, torch.from_numpy(a[None].copy()))[0].numpy()
        half = len(u) // 2
        for name, cut in zip(parts, (slice(0, half), slice(half, None), slice(None)), strict=True):
            parts[name].append(moments(u[cut], counted(u[cut], kind[cut] == VOICED), arch.lags))
    x = {name: np.stack(rows) for name, rows in parts.items()}
    y = np.array([arch.labels.index(clip.label) for clip in material.clips])
    print(
        f"{len(y)} speakers, {words.repeats} x 5 folds; UAR of evidence alone, mean +- deviation over repeats"
    )
    for fitted in x:
        for judged in x:
            found = []
            for repeat in range(words.repeats):
                answers = np.zeros_like(y)
                for parts_of in fold_clips(material.clips, recipe.split, 5, repeat):
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


if __name__ == "__main__":
    main()
