"""The contribution of each part of a model with evidence: c_t alone, evidence alone, both, and both with c_t weighed
more.

    python benchmarks/evidence_parts.py saa8k/manifest.csv runs/folds-phones [--config configs/world.toml]

For folds that `streamcab train --folds` trained by that recipe (by default configs/phones.toml): UAR of each repeat's
pooled answers.
"""

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from streamcab_train.dataset import gather
from streamcab_train.distilled import distilled
from streamcab_train.manifest import read_manifest
from streamcab_train.recipe import read_recipe
from streamcab_train.run_folder import ANSWERS, MODEL, cache_folder
from streamcab_train.scores import confusion_matrix, scores
from streamcab_train.step import forward, summary

from streamcab.dsp.gate import VOICED
from streamcab.evidence.layer import evidence_of
from streamcab.nn.checkpoint import load

RECIPE = Path(__file__).parent.parent / "configs" / "phones.toml"
POWERS = {"both": 1, "both, c_t cubed": 3, "both, c_t to the 10th": 10}


def main() -> None:
    parser = argparse.ArgumentParser(description="c_t alone, evidence alone, and both.")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("folds", type=Path)
    parser.add_argument("--config", type=Path, default=RECIPE)
    words = parser.parse_args()
    torch.set_num_threads(1)
    recipe = read_recipe(words.config)
    dataset = gather(read_manifest(words.manifest, recipe.corpus), recipe, cache_folder())
    labels, start = dataset.architecture.labels, Path(recipe.training.start)
    features = distilled(dataset.features, dataset.architecture, start, cache_folder())
    number = {str(words.manifest.parent.resolve() / clip.path): i for i, clip in enumerate(dataset.clips)}
    found: dict[str, list[float]] = defaultdict(list)
    for repeat in sorted(p for p in words.folds.iterdir() if p.name.isdigit()):
        truth, answers = [], defaultdict(list)
        for fold in sorted(p for p in repeat.iterdir() if p.is_dir()):
            model = load(fold / MODEL).model
            evidence = evidence_of(model)
            assert evidence is not None, f"{fold / MODEL} has no evidence"
            with (fold / ANSWERS).open(newline="", encoding="utf-8") as text:
                rows = list(csv.DictReader(text))
            for row in rows:
                a, kind = features.clip(number[row["path"]])
                x, voiced = torch.from_numpy(a[None].copy()), kind == VOICED
                with torch.inference_mode():
                    c, u = forward(model, x)[0].numpy(), summary(model, x)[0].numpy()
                mean, word = c[voiced].mean(0, dtype=np.float64)[None], evidence.of_clip(u, voiced)
                truth.append(labels.index(row["label"]))
                answers["c_t alone"].append(int(mean.argmax()))
                answers["evidence alone"].append(int(evidence(np.ones_like(mean), *word).argmax()))
                for name, power in POWERS.items():
                    answers[name].append(int(evidence(mean**power, *word).argmax()))
        for name, said in answers.items():
            found[name].append(scores(confusion_matrix(truth, said, len(labels))).uar)
    for name, uar in found.items():
        print(f"{name:22} UAR {np.mean(uar):.3f} +- {np.std(uar):.3f}  {np.round(uar, 3)}")


if __name__ == "__main__":
    main()
