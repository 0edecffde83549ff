"""The recipe of a model with a trunk (configs/context.toml), checked before an hour of training.

Knows nothing of what is done with it.
"""

import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from streamcab.errors import ConfigError
from streamcab.nn.cabcnn import Architecture
from streamcab.nn.geometry import BlockShape, StageShape


class ModelKeys(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The section [model]: rows of a stage are filters, kernel, pool, stride; of the trunk taps, dilation, ahead."""

    stages: tuple[tuple[int, int, int, int], ...]
    trunk: tuple[tuple[int, int, int], ...]
    trunk_hidden: int
    rate: int = 8000
    pooled_rate: int = 8000
    classifiers: int = 40


class StageKeys(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A section [[stages]]: one after the other, each from where the one before ended.

    frames, opinion, label  weights of the losses        distilled  the distiller stays as it is, its a_t are kept
    shaken                  no row is heard twice the same: of another speed, through a filter, with noise
    everyone                voices that judge teach, too: of what comes out nothing can be measured
    """

    name: str
    steps: int
    learning_rate: float
    frames: float
    opinion: float = 0.0
    label: float = 0.0
    intervals: int = 3840
    distilled: bool = False
    everyone: bool = False
    shaken: bool = False


class StreamKeys(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The section [stream]: recordings are heard as they are needed, and neither they nor what is heard is kept.

    shard      clips that are read together
    window     shards that each of the lanes of stream.py holds: what rows are drawn from
    hearings   how often a shard's speech is drawn, on average, before another takes its place
    """

    shard: Annotated[int, msgspec.Meta(ge=1)] = 50
    window: Annotated[int, msgspec.Meta(ge=1)] = 8
    hearings: Annotated[float, msgspec.Meta(gt=0)] = 4.0


class ContextKeys(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The whole file."""

    classes: dict[str, str]
    model: ModelKeys
    stages: tuple[StageKeys, ...]
    corpora: tuple[str, ...] = ()
    """Those of the manifests that are heard at all; all of them if none is named."""
    licence: str = ""
    """Of the weights, as the recordings allow."""
    abstain_below: float | None = None
    """The confidence below which the model is to say that it is not sure."""
    strangers: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    seed: int = 0
    components: int = 128
    penalty: float = 300.0
    copies: int = 1
    soften: tuple[float, float] = (1.0, 1.0)
    stream: StreamKeys | None = None
    """Without it, all recordings and their copies are kept in memory and on the disk: good for some 15 hours."""
    inner: Annotated[int, msgspec.Meta(ge=0)] = 0
    """One in this many of the groups that teach a class does not, and chooses the best weights of each stage with
    labels; 0 keeps the last weights."""
    precision: Literal["bf16", "float32"] = "bf16"
    """Of products and convolutions in training."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes in their order."""
        return tuple(dict.fromkeys(self.classes.values()))

    @property
    def architecture(self) -> Architecture:
        """Return the model's architecture.

        Raises:
            ConfigError: The keys describe none.
        """
        try:
            return Architecture(
                self.labels,
                rate=self.model.rate,
                pooled_rate=self.model.pooled_rate,
                stages=tuple(StageShape(*row, dropout=0.0) for row in self.model.stages),
                classifiers=self.model.classifiers,
                trunk=tuple(BlockShape(*row) for row in self.model.trunk),
                trunk_hidden=self.model.trunk_hidden,
            )
        except ValueError as error:
            raise ConfigError(f"model: {error}") from None


def read_context(path: Path) -> ContextKeys:
    """Read the recipe in a file. ConfigError says what is wrong with it and where."""
    try:
        keys = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), ContextKeys)
    except OSError as error:
        raise ConfigError(f"cannot read the recipe {path}: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path}: {error}") from None
    if min(keys.soften) <= 0:
        raise ConfigError(
            f"{path}: soften is {list(keys.soften)}; what logits are divided by must be above 0"
        )
    if not keys.model.trunk:
        raise ConfigError(f"{path}: model.trunk has no block; without a trunk use `streamcab train`")
    for stage in keys.stages:
        if min(stage.steps, stage.intervals) < 1 or stage.learning_rate <= 0:
            raise ConfigError(
                f"{path}: stage {stage.name!r}: steps, intervals and learning_rate must be above 0"
            )
    if any(before.everyone and not stage.everyone for before, stage in pairwise(keys.stages)):
        raise ConfigError(
            f"{path}: a stage of two thirds of the voices follows one of everyone; put it before"
        )
    if keys.stages and keys.stages[0].everyone:
        raise ConfigError(f"{path}: the first stage is of everyone: nothing would be left to judge by")
    if any(stage.shaken and stage.distilled for stage in keys.stages):
        raise ConfigError(f"{path}: a stage is shaken and distilled; only samples can be shaken, no a_t")
    names = [stage.name for stage in keys.stages]
    if len(set(names)) < len(names) or not names:
        raise ConfigError(f"{path}: stages need a name each, and no name twice: {names}")
    return keys
