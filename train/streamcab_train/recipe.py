"""A training run's settings: a tree as in `streamcab.config`, read from TOML. Unknown keys are errors.

Owns the tree, how it is read, and the checks of several keys together; recipe_keys.py has the sections. Knows nothing
of data or of how a setting is carried out.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from streamcab.config.convert import convert
from streamcab.config.layers import read_toml
from streamcab.config.setting import Section, listed
from streamcab.errors import ConfigError
from streamcab.nn.cabcnn import Architecture
from streamcab_train.recipe_keys import (
    STAGES,
    CorpusKeys,
    EvidenceKeys,
    ModelKeys,
    PretrainKeys,
    SplitKeys,
    TrainingKeys,
)

LATER = {
    "training": ("precision",),
    "evidence": ("shrinkages",),
    "model": ("phones", "reach", "phone_hidden"),
    "pretrain": ("alignment", "phone_epochs"),
}
"""Keys added after the first models. They are omitted at their default, so that an earlier run resumes as the same run
and produces the same file."""


class Recipe(Section, frozen=True):
    """A recipe. On a CPU, runs with the same recipe, corpus and number of threads give the same weights."""

    corpus: CorpusKeys = CorpusKeys()
    split: SplitKeys = SplitKeys()
    model: ModelKeys = ModelKeys()
    training: TrainingKeys = TrainingKeys()
    pretrain: PretrainKeys = PretrainKeys()
    evidence: EvidenceKeys = EvidenceKeys()

    def architecture(self, labels: tuple[str, ...]) -> Architecture:
        """Return the architecture of a net with these labels."""
        keys = msgspec.structs.asdict(self.model) | {"stages": STAGES[self.model.stages]}
        # A `clip` model normalises over what it may hear (paper, section 4: the first T seconds).
        extra = {"seconds": self.training.seconds} if self.model.normaliser == "clip" else {}
        return Architecture(labels=labels, extra=extra, **keys)

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON gives it back."""
        plain, mine = _tables(Recipe()), _tables(self)
        return {
            section: {
                k: list(v) if isinstance(v, tuple) else v
                for k, v in keys.items()
                if k not in LATER.get(section, ()) or v != plain[section][k]
            }
            for section, keys in mine.items()
        }


def read_recipe(path: Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe from TOML; `overrides` are dotted keys, as "training.seed", that win over the file.

    ConfigError in one line for a file that cannot be read, an unknown key, or a value that cannot be right.
    """
    table = read_toml(path, "recipe")
    for key, value in (overrides or {}).items():
        section, _, name = key.partition(".")
        if not name or not isinstance(table.setdefault(section, {}), dict):
            raise ConfigError(f"{key!r} names no setting; write it as section.key, such as training.seed")
        table[section][name] = value
    recipe = make_recipe(table, str(path))
    _check(recipe, str(path))
    return recipe


def make_recipe(table: Mapping[str, Any], where: str) -> Recipe:
    """Make a recipe from tables; ConfigError names the key, `where` the file.

    Models made before 2026-12 store the table `pretrain` under its earlier name, `teach`.
    """
    return convert(
        {"pretrain" if name == "teach" else name: keys for name, keys in table.items()}, Recipe, where
    )


def _tables(recipe: Recipe) -> dict[str, dict[str, Any]]:
    return {name: msgspec.structs.asdict(section) for name, section in msgspec.structs.asdict(recipe).items()}


def _check(recipe: Recipe, where: str) -> None:
    """Check what types alone do not catch.

    Raises:
        ConfigError: The first key that is wrong.
    """

    def want(holds: bool, otherwise: str) -> None:
        if not holds:
            raise ConfigError(f"{where}: {otherwise}")

    split, model, t, pretrain = recipe.split, recipe.model, recipe.training, recipe.pretrain
    whole = abs(sum((split.train, split.validation, split.test)) - 1) <= 1e-6
    want(whole, "split: train, validation and test must be above 0 and sum to 1")
    there = model.stages in STAGES
    want(there, f"model.stages is {model.stages!r}; it can be {listed(tuple(STAGES))}")
    fits = model.pooled_rate <= model.rate
    want(fits, f"model.pooled_rate is {model.pooled_rate}; it must be 1 to model.rate")
    read = (model.summary > 0) == bool(model.lags or model.phones) and not (model.lags and model.phones)
    want(read, "model.summary with model.lags or model.phones, or none of them")
    both = (model.phones > 1) == (model.phone_hidden > 0)
    want(both, "model.phones, 2 or more, and phone_hidden: both, or 0")
    aligned = bool(model.phones) == bool(pretrain.alignment)
    want(aligned, "model.phones needs pretrain.alignment, and the other way round")
    begun = bool(t.start) or not t.frozen
    want(begun, "training.frozen needs training.start: a frozen distiller keeps the weights it starts with")
    want(
        model.normaliser != "clip" or t.crop != "random",
        "a clip model with random crops: it is normalised over the first seconds, so take crop = 'first'",
    )
