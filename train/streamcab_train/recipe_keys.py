"""The sections of a training recipe: every key with its type, unit, range, default and help.

Knows nothing of files, or of keys that depend on each other.
"""

from typing import Annotated, Literal

import msgspec

from streamcab.config.setting import FINITE, Section, setting
from streamcab.nn.geometry import PAPER_STAGES, StageShape

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


class CorpusKeys(Section, frozen=True):
    """Keys of the corpus: how to read the manifest, and what the card says of the corpus."""

    name: Annotated[str, setting("Name of the corpus, for the model's card.")] = "unnamed"
    licence: Annotated[str, setting("Licence of the recordings: it follows the weights.")] = "unknown"
    path: Annotated[str, setting("Column of the audio file.")] = "path"
    label: Annotated[str, setting("Column of the label.")] = "label"
    speaker: Annotated[str, setting("Column of the speaker.")] = "speaker"
    split: Annotated[
        str, setting("Column that says train, validation or test for each row; empty: split here.")
    ] = ""
    labels: Annotated[
        dict[str, str],
        setting(
            "Label in the manifest -> class. Rows of other labels are dropped. Empty: each label is a class."
        ),
    ] = msgspec.field(default_factory=dict)
    shortest_s: Annotated[
        float,
        setting(
            "Shorter clips are dropped: one of them would cut its whole batch.",
            unit="s",
            least=0,
            most=FINITE,
        ),
    ] = 1.0


Share = Annotated[float, setting("Share of each class (paper, section 4).", above=0, below=1)]
Seed = Annotated[int, setting("Seed of all that is drawn.", least=0)]


class SplitKeys(Section, frozen=True):
    """Shares of each class."""

    train: Share = 0.6
    validation: Share = 0.1
    test: Share = 0.3
    seed: Seed = 0


class ModelKeys(Section, frozen=True):
    """The architecture, but for the labels."""

    rate: Annotated[int, setting("Every source is brought to this rate.", unit="Hz", least=4000)] = 8000
    pooled_rate: Annotated[int, setting("Rate of the pooled signal, at most `rate`.", unit="Hz", least=1)] = (
        4000
    )
    stages: Annotated[
        str,
        setting(
            "`paper`: its Table 2; or `wide`, for which pooled_rate is 8000: nothing above 2 kHz is thrown away."
        ),
    ] = "paper"
    summary: Annotated[
        int,
        setting(
            "Numbers that each interval is summed up in, for second moments (streamcab/evidence/moments.py); "
            "0: none.",
            least=0,
        ),
    ] = 0
    lags: tuple[
        Annotated[int, setting("Intervals apart at which their products are averaged.", least=0)], ...
    ] = ()
    phones: Annotated[
        int,
        setting(
            "In place of lags: phones that intervals are told apart as, the first no speech "
            "(streamcab/evidence/phones.py).",
            least=0,
        ),
    ] = 0
    reach: Annotated[int, setting("Intervals on each side that are heard for that.", least=0)] = 0
    phone_hidden: Annotated[int, setting("Size of the layer between.", least=0)] = 0
    normaliser: Annotated[
        Literal["running", "clip"],
        setting(
            "`running`: over what was heard so far, for live use; `clip`: over whole clips, as the paper."
        ),
    ] = "running"
    gate: Annotated[bool, setting("Leave intervals without speech out.")] = True
    classifiers: Annotated[int, setting("Classifiers of the ACB.", least=1)] = 40
    hidden: tuple[Annotated[int, setting("Hidden layers of each classifier.", least=1)], ...] = (8, 4)
    attention: tuple[Annotated[int, setting("Hidden layers of the attention.", least=1)], ...] = (160, 80)


class TrainingKeys(Section, frozen=True):
    """The loop of `streamcab train`."""

    seed: Annotated[int, setting("Of weights, order, crops and dropout.", least=0)] = 0
    epochs: Annotated[int, setting("At most.", least=1)] = 500
    patience: Annotated[
        int, setting("Epochs without a better validation score after which training stops.", least=1)
    ] = 15
    monitor: Annotated[
        Literal["loss", "balanced", "uar"],
        setting(
            "Of validation: `loss`; `balanced`, the mean of the classes' losses; or `uar`, ties by the latter."
        ),
    ] = "loss"
    batch: Annotated[int, setting("Clips in a batch.", least=1)] = 128
    learning_rate: Annotated[float, setting("Of AdamW.", above=0, most=FINITE)] = 1e-3
    weight_decay: Annotated[float, setting("Decoupled (AdamW).", least=0, most=FINITE)] = 0.0
    label_smoothing: Annotated[float, setting("Of the loss.", least=0, below=1)] = 0.0
    seconds: Annotated[
        float,
        setting(
            "T: at most so much of a clip in a batch; all clips of a batch are cut to its shortest.",
            unit="s",
            above=0,
            most=FINITE,
        ),
    ] = 30.0
    crop: Annotated[
        Literal["first", "random"],
        setting(
            "`first`: the first T seconds, when judged too. `random`: from anywhere; when judged, all is heard."
        ),
    ] = "first"
    balanced: Annotated[bool, setting("Draw each class equally often.")] = False
    start: Annotated[
        str,
        setting(
            "A pretrained checkpoint (`streamcab pretrain`) whose distiller and summary this run begins with."
        ),
    ] = ""
    frozen: Annotated[bool, setting("Leave the distiller as it began: only the ACB learns.")] = False
    precision: Annotated[
        Literal["float32", "bf16"],
        setting(
            "Of products and convolutions in training: `float32`, or `bf16`, quicker where the processor has it."
        ),
    ] = "float32"


class PretrainKeys(Section, frozen=True):
    """`streamcab pretrain`: what the distiller learns before it sees a label."""

    seed: Seed = 0
    steps: Annotated[int, setting("Of the optimiser.", least=1)] = 2000
    batch: Annotated[int, setting("Crops in a batch.", least=1)] = 24
    seconds: Annotated[float, setting("Of each crop.", unit="s", above=0, most=FINITE)] = 2.0
    learning_rate: Annotated[float, setting("Of Adam, at its highest.", above=0, most=FINITE)] = 2e-3
    gain: Annotated[float, setting("Deviation of the logarithm of the gain at which a crop is heard.")] = 0.25
    alignment: Annotated[str, setting("What align.py found of the corpus, for a model with phones.")] = ""
    phone_epochs: Annotated[
        int, setting("Passes over the aligned intervals, when phones are trained.", least=0)
    ] = 6


Shrinkage = Annotated[
    float, setting("Of the covariance within classes towards the identity.", least=0, most=1)
]


class EvidenceKeys(Section, frozen=True):
    """The evidence layer, which is fitted in closed form."""

    shrinkage: Shrinkage = 0.5
    shrinkages: tuple[
        Annotated[
            float,
            setting(
                "If any: which of these it is, is chosen by inner folds of the training voices, and `shrinkage` not "
                "used.",
                least=0,
                most=1,
            ),
        ],
        ...,
    ] = ()
