"""A training run's settings: frozen dataclasses, read from TOML. A key that nobody knows is an error, not a no-op.

Owns what can be set and what it may be. Knows nothing of data or of how a setting is carried out.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from streamcab.config import read_toml
from streamcab.errors import ConfigError
from streamcab.nn.cabcnn import Architecture
from streamcab.nn.distiller import PAPER_STAGES, StageShape

T = TypeVar("T")

STAGES = {
    "paper": PAPER_STAGES,
    "wide": (
        StageShape(32, 32, 8, 4, 0.0),
        StageShape(32, 8, 4, 2, 0.0),
        StageShape(48, 8, 10, 5, 0.0),
        StageShape(128, 8, 10, 5, 0.0),
    ),
}
"""The distillers that a recipe can name: both give an interval each 25 ms at their pooled_rate."""


@dataclass(frozen=True)
class CorpusKeys:
    """How to read the manifest, and what to say of the corpus."""

    name: str = "unnamed"
    """Name of the corpus, for the model's card."""
    licence: str = "unknown"
    """Licence of the recordings: it follows the weights."""
    path: str = "path"
    label: str = "label"
    speaker: str = "speaker"
    split: str = ""
    """Column that says train, validation or test for each row; empty: split here."""
    labels: dict[str, str] = field(default_factory=dict)
    """Label in the manifest -> class. Rows of other labels are dropped. Empty: each label is a class."""
    shortest_s: float = 1.0
    """Shorter clips are dropped: one of them would cut its whole batch."""


@dataclass(frozen=True)
class SplitKeys:
    """Shares of each class (paper, section 4: 60, 10 and 30 %)."""

    train: float = 0.6
    validation: float = 0.1
    test: float = 0.3
    seed: int = 0


@dataclass(frozen=True)
class ModelKeys:
    """The architecture, but for the labels."""

    rate: int = 8000
    pooled_rate: int = 4000
    stages: str = "paper"
    """`paper`: its Table 2; or `wide`, for which pooled_rate is 8000: nothing above 2 kHz is thrown away."""
    summary: int = 0
    """Numbers that each interval is summed up in, for second moments (streamcab/evidence/moments.py); 0: none."""
    lags: tuple[int, ...] = ()
    """Intervals apart at which their products are averaged."""
    phones: int = 0
    """In place of lags: phones that intervals are told apart as, the first no speech (streamcab/evidence/phones.py)."""
    reach: int = 0
    """Intervals on each side that are heard for that."""
    phone_hidden: int = 0
    """Size of the layer between."""
    normaliser: str = "running"
    gate: bool = True
    classifiers: int = 40
    hidden: tuple[int, ...] = (8, 4)
    attention: tuple[int, ...] = (160, 80)


@dataclass(frozen=True)
class TrainingKeys:
    """The loop."""

    seed: int = 0
    """Of weights, order, crops and dropout."""
    epochs: int = 500
    """At most."""
    patience: int = 15
    """Epochs without a better validation score after which training stops."""
    monitor: str = "loss"
    """Of validation: `loss`; `balanced`, the mean of the classes' losses; or `uar`, ties by the latter."""
    batch: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    """Decoupled (AdamW)."""
    label_smoothing: float = 0.0
    seconds: float = 30.0
    """T: at most so much of a clip in a batch; all clips of a batch are cut to its shortest."""
    crop: str = "first"
    """`first`: the first T seconds, when judged too. `random`: from anywhere; when judged, all is heard."""
    balanced: bool = False
    """Draw each class equally often."""
    start: str = ""
    """A taught checkpoint (`streamcab teach`) whose distiller and summary this run begins with."""
    frozen: bool = False
    """Leave the distiller as it began: only the ACB learns."""
    precision: str = "float32"
    """Of products and convolutions in training: `float32`, or `bf16`, quicker where the processor has it."""


@dataclass(frozen=True)
class PretrainKeys:
    """`streamcab teach`: what the distiller learns before it sees a label."""

    seed: int = 0
    steps: int = 2000
    batch: int = 24
    seconds: float = 2.0
    """Of each crop."""
    learning_rate: float = 2e-3
    gain: float = 0.25
    """Deviation of the logarithm of the gain at which a crop is heard."""
    alignment: str = ""
    """What align.py found of the corpus, for a model with phones."""
    phone_epochs: int = 6
    """Over the aligned intervals, when the phones are taught."""


@dataclass(frozen=True)
class EvidenceKeys:
    """The evidence layer, which is fitted in closed form (evidence.py)."""

    shrinkage: float = 0.5
    """Of the covariance within classes towards the identity."""
    shrinkages: tuple[float, ...] = ()
    """If any: which of these it is, is chosen by inner folds of the training voices, and `shrinkage` not used."""


LATER = {
    "training": ("precision",),
    "evidence": ("shrinkages",),
    "model": ("phones", "reach", "phone_hidden"),
    "teach": ("alignment", "phone_epochs"),
}
"""Keys younger than the first models: at their default they are not written down, so that a run of before is the same
run, and its model the same file."""


@dataclass(frozen=True)
class Recipe:
    """All of it. On a CPU, runs with the same recipe, corpus and number of threads give the same weights."""

    corpus: CorpusKeys = CorpusKeys()
    split: SplitKeys = SplitKeys()
    model: ModelKeys = ModelKeys()
    training: TrainingKeys = TrainingKeys()
    teach: PretrainKeys = PretrainKeys()
    evidence: EvidenceKeys = EvidenceKeys()

    def architecture(self, labels: tuple[str, ...]) -> Architecture:
        """What to build and what to feed it."""
        keys = dataclasses.asdict(self.model) | {"stages": STAGES[self.model.stages]}
        # A `clip` model normalises over what it may hear (paper, section 4: the first T seconds).
        extra = {"seconds": self.training.seconds} if self.model.normaliser == "clip" else {}
        return Architecture(labels=labels, extra=extra, **keys)

    def to_dict(self) -> dict[str, Any]:
        """As JSON gives it back."""
        plain = dataclasses.asdict(Recipe())
        return {
            section: {
                k: list(v) if isinstance(v, tuple) else v
                for k, v in keys.items()
                if k not in LATER.get(section, ()) or v != plain[section][k]
            }
            for section, keys in dataclasses.asdict(self).items()
        }


def read_recipe(path: Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe from TOML; `overrides` are dotted keys, as "training.seed", that win over the file.

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
    """A recipe from tables; ConfigError names the key, `where` the file."""
    sections = get_type_hints(Recipe)
    _known(table, sections, where, "section")
    made = {}
    for name, section in sections.items():
        if not isinstance(table.get(name, {}), Mapping):
            raise ConfigError(f"{where}: [{name}] must be a table")
        made[name] = _section(section, table.get(name, {}), f"{where}: {name}")
    return Recipe(**made)


def _known(table: Mapping[str, Any], known: Mapping[str, Any], where: str, what: str) -> None:
    for key in table:
        if key not in known:
            raise ConfigError(f"{where}: unknown {what} {key!r}; there are {', '.join(known)}")


def _section(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    hints = get_type_hints(kind)
    _known(table, hints, where, "key")
    return kind(**{key: _value(hints[key], value, f"{where}.{key}") for key, value in table.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    """`value` as `hint` wants it: bool, int, float, str, tuple[int, ...] or dict[str, str]."""
    kind, args = get_origin(hint), get_args(hint)
    if kind is tuple and isinstance(value, list | tuple):
        return tuple(_value(args[0], v, where) for v in value)
    if kind is dict and isinstance(value, Mapping):
        return {str(k): _value(args[1], v, f"{where}.{k}") for k, v in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is None and isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    lists = "a list of numbers" if args and args[0] is float else "a list of integers"
    want = {tuple: lists, dict: "a table of strings"}.get(kind or hint) or hint.__name__
    raise ConfigError(f"{where} is {value!r}; it must be {want}")


def _check(recipe: Recipe, where: str) -> None:
    """What types alone do not catch: ConfigError for the first thing that does not hold."""

    def want(holds: bool, otherwise: str) -> None:
        if not holds:
            raise ConfigError(f"{where}: {otherwise}")

    def one_of(key: str, value: str, *words: str) -> None:
        want(value in words, f"{key} is {value!r}; it can be {', '.join(words[:-1])} or {words[-1]}")

    split, model, t, teach = recipe.split, recipe.model, recipe.training, recipe.teach
    shares, endless = (split.train, split.validation, split.test), float("inf")
    whole = min(shares) > 0 and abs(sum(shares) - 1) <= 1e-6
    want(whole, "split: train, validation and test must be above 0 and sum to 1")
    want(split.seed >= 0 and t.seed >= 0, "split.seed and training.seed must not be negative")
    one_of("model.normaliser", model.normaliser, "running", "clip")
    want(model.rate >= 4000, f"model.rate is {model.rate}; it must be 4000 or more")
    one_of("model.stages", model.stages, *STAGES)
    fits = 0 < model.pooled_rate <= model.rate
    want(fits, f"model.pooled_rate is {model.pooled_rate}; it must be 1 to model.rate")
    read = (model.summary > 0) == bool(model.lags or model.phones) and not (model.lags and model.phones)
    want(read, "model.summary with model.lags or model.phones, or none of them")
    both = (model.phones > 1) == (model.phone_hidden > 0)
    want(both, "model.phones, 2 or more, and phone_hidden: both, or 0")
    taught = bool(model.phones) == bool(teach.alignment)
    want(taught, "model.phones without teach.alignment: nobody would teach them")
    begun = bool(t.start) or not t.frozen
    want(begun, "training.frozen without training.start: it would stay as it was drawn")
    least = min(teach.steps, teach.batch, teach.seconds, teach.learning_rate)
    want(least > 0, "teach: steps, batch, seconds and learning_rate must be above 0")
    one, several = recipe.evidence.shrinkage, recipe.evidence.shrinkages
    want(0 <= one <= 1, f"evidence.shrinkage is {one}; it must lie in [0, 1]")
    inside = all(0 <= x <= 1 for x in several)
    want(inside, f"evidence.shrinkages are {list(several)}; each must lie in [0, 1]")
    smallest = min(model.classifiers, *model.hidden, *model.attention)
    want(smallest > 0, "model.classifiers, hidden and attention must be positive")
    one_of("training.crop", t.crop, "first", "random")
    one_of("training.monitor", t.monitor, "loss", "balanced", "uar")
    one_of("training.precision", t.precision, "float32", "bf16")
    want(min(t.epochs, t.patience, t.batch) > 0, "training.epochs, patience and batch must be positive")
    finite = all(0 < x < endless for x in (t.learning_rate, t.seconds))
    want(finite, "training.learning_rate and seconds must be above 0")
    want(0 <= t.weight_decay < endless, "training.weight_decay must not be negative")
    want(0 <= t.label_smoothing < 1, "training.label_smoothing must lie in [0, 1)")
    want(0 <= recipe.corpus.shortest_s < endless, "corpus.shortest_s must not be negative")
    want(
        model.normaliser != "clip" or t.crop != "random",
        "a clip model with random crops: it is normalised over the first seconds, so take crop = 'first'",
    )
