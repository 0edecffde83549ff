"""An unbiased check of reach and shrinkage of evidence by phone: both are chosen by inner folds.

    python benchmarks/chosen_inside.py saa8k/manifest.csv

`configs/phones.toml` has a reach of 2 and a shrinkage of 0.5, and both were seen to be good on the voices of the test.
Here each outer fold chooses both by the UAR of inner speaker-disjoint folds of its training voices (evidence alone; the
phones are learnt anew, with strangers, for each reach). Needs the trained distiller and the alignment that the recipe
starts from.
"""

import argparse
import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from other_text import strangers_phones
from streamcab_train.batches import Selection
from streamcab_train.dataset import gather
from streamcab_train.distilled import distilled
from streamcab_train.evidence import discriminant, inner_uar, summed_up
from streamcab_train.manifest import read_manifest
from streamcab_train.phones import learn_phones
from streamcab_train.pretrain import begin_from
from streamcab_train.recipe import read_recipe
from streamcab_train.run_folder import cache_folder
from streamcab_train.scores import confusion_matrix, scores
from streamcab_train.split import fold_clips

from streamcab.nn.cabcnn import CabCnn

RECIPE = Path(__file__).parent.parent / "configs" / "phones.toml"
REACHES = (1, 2, 4)
SHRINKAGES = (0.1, 0.3, 0.5, 0.7)


def main() -> None:
    parser = argparse.ArgumentParser(description="Reach and shrinkage chosen by inner folds.")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    words = parser.parse_args()
    torch.set_num_threads(1)
    recipe = read_recipe(RECIPE)
    dataset = gather(read_manifest(words.manifest, recipe.corpus), recipe, cache_folder())
    arch, start = dataset.architecture, Path(recipe.training.start)
    features = distilled(dataset.features, arch, start, cache_folder())
    y = np.array([arch.labels.index(clip.label) for clip in dataset.clips])
    everybody = Selection(features, np.arange(len(y)), y, arch.gate)
    taught = CabCnn(arch).eval()
    begin_from(taught, start)
    strange = strangers_phones(words.manifest, recipe, taught)
    numbers = {}
    for reach in REACHES:
        model = CabCnn(dataclasses.replace(arch, reach=reach)).eval()
        model.distiller.load_state_dict(taught.distiller.state_dict())
        assert model.summary is not None
        assert taught.summary is not None
        model.summary.load_state_dict(taught.summary.state_dict())
        told = learn_phones(model, strange, recipe.pretrain.phone_epochs, recipe.pretrain.seed)
        numbers[reach] = summed_up(model, everybody)[0]
        print(f"reach {reach}: {told:.3f} of the intervals of strangers held out are told right", flush=True)
    fixed = (arch.reach, recipe.evidence.shrinkage)
    speakers = np.array([clip.speaker for clip in dataset.clips])
    chosen: Counter[tuple[int, float]] = Counter()
    found: dict[str, list[float]] = {"chosen inside": [], "as the recipe has it": []}
    for repeat in range(words.repeats):
        answers = {name: np.zeros_like(y) for name in found}
        for parts in fold_clips(dataset.clips, recipe.split, 5, repeat):
            test = np.array(parts) == "test"
            best = max(
                ((r, s) for r in REACHES for s in SHRINKAGES),
                key=lambda rs: inner_uar(
                    numbers[rs[0]][~test], y[~test], speakers[~test].tolist(), rs[1], repeat
                ),
            )
            chosen[best] += 1
            for name, (reach, shrinkage) in zip(found, (best, fixed), strict=True):
                answers[name][test] = _answers(numbers[reach], y, test, shrinkage)
        for name, said in answers.items():
            found[name].append(scores(confusion_matrix(y, said, len(arch.labels))).uar)
            print(f"repeat {repeat}, {name}: UAR {found[name][-1]:.3f}", flush=True)
    for name, uar in found.items():
        print(f"{name}: UAR {np.mean(uar):.3f} +- {np.std(uar):.3f}, {len(y)} speakers, evidence alone")
    print("chosen:", ", ".join(f"reach {r}, shrinkage {s}: {n}" for (r, s), n in sorted(chosen.items())))


def _answers(
    x: NDArray[np.float64], y: NDArray[np.int64], test: NDArray[np.bool_], shrinkage: float
) -> NDArray[np.int64]:
    weight, bias = discriminant(x[~test], y[~test], shrinkage)
    said: NDArray[np.int64] = (x[test] @ weight.T + bias).argmax(1)
    return said


if __name__ == "__main__":
    main()
