"""Recipes: the ones that ship can be read, and a mistake in one's own is named."""

from pathlib import Path

import pytest
from streamcab_train.recipe import Recipe, read_recipe

from streamcab.errors import ConfigError
from streamcab.nn.cabcnn import CabCnn
from streamcab.nn.geometry import PAPER_STAGES

CONFIGS = Path(__file__).parent.parent / "configs"


def read(folder: Path, text: str, **overrides: object) -> Recipe:
    """A recipe from text; overrides with __ for the dot."""
    file = folder / "r.toml"
    file.write_text(text)
    return read_recipe(file, {key.replace("__", "."): value for key, value in overrides.items()})


def test_the_papers_recipe_says_what_the_paper_says() -> None:
    recipe = read_recipe(CONFIGS / "paper.toml")
    architecture = recipe.architecture(("au", "us", "uk"))
    assert (architecture.normaliser, architecture.gate) == ("clip", False)
    assert architecture.extra == {"seconds": 30.0}
    assert architecture.stages == PAPER_STAGES
    assert sum(p.numel() for p in CabCnn(architecture).parameters()) == 133_856
    t, s = recipe.training, recipe.split
    assert (t.batch, t.seconds, t.crop, t.patience, t.balanced) == (128, 30.0, "first", 15, False)
    assert (t.weight_decay, t.label_smoothing) == (0.0, 0.0)
    assert (s.train, s.validation, s.test) == (0.6, 0.1, 0.3)


def test_the_live_recipe_hears_what_the_daemon_hears() -> None:
    architecture = read_recipe(CONFIGS / "live.toml").architecture(("us", "uk"))
    assert (architecture.normaliser, architecture.gate, architecture.extra) == ("running", True, {})


def test_the_world_recipe_is_the_bundled_ones_but_for_its_classes() -> None:
    world, evidence = (read_recipe(CONFIGS / f"{name}.toml") for name in ("world", "evidence"))
    assert len(set(world.corpus.labels.values())) == 11
    # Set beforehand: these teach the distiller, and no voice that is judged may.
    strangers = {"ireland", "scotland", "northern-ireland", "new-zealand", "south-africa", "jamaica", "other"}
    assert not strangers & world.corpus.labels.keys()
    assert (world.model, world.pretrain, world.evidence) == (
        evidence.model,
        evidence.pretrain,
        evidence.evidence,
    )


def test_an_empty_recipe_is_all_defaults(tmp_path: Path) -> None:
    assert read(tmp_path, "") == Recipe()


def test_overrides_win(tmp_path: Path) -> None:
    recipe = read(tmp_path, "[training]\nseed = 1\n", training__seed=2, corpus__licence="CC0-1.0")
    assert (recipe.training.seed, recipe.corpus.licence) == (2, "CC0-1.0")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[trainig]\n", "unknown section 'trainig'; there are corpus, split, model, training"),
        ("[training]\nbtach = 3\n", "training: unknown key 'btach'"),
        ("[training]\nbatch = 1.5\n", "training.batch is 1.5; it must be int"),
        ("[training]\nbatch = true\n", "training.batch is True; it must be int"),
        ("[training]\nbatch = 0\n", "training.batch is 0; it must be positive"),
        ("[training]\nprecision = 'fp8'\n", "precision is 'fp8'; it can be float32 or bf16"),
        ("[evidence]\nshrinkages = [0.2, 1.5]\n", "shrinkages are [0.2, 1.5]; each must be 0 to 1"),
        ("[evidence]\nshrinkages = 0.5\n", "shrinkages is 0.5; it must be a list of numbers"),
        ("[training]\ncrop = 'middle'\n", "crop is 'middle'; it can be first or random"),
        ("[training]\nmonitor = 'f1'\n", "monitor is 'f1'"),
        ("[training]\nlearning_rate = nan\n", "training.learning_rate is nan; it must be above 0 and finite"),
        ("[split]\ntrain = 0.9\n", "sum to 1"),
        ("[model]\nhidden = 'x'\n", "model.hidden is 'x'; it must be a list of integers"),
        ("[model]\nnormaliser = 'none'\n", "it can be running or clip"),
        ("[model]\nnormaliser = 'clip'\n[training]\ncrop = 'random'\n", "clip model with random crops"),
        ("[corpus]\nlabels = 3\n", "corpus.labels is 3; it must be a table of strings"),
        ("corpus = 3\n", "[corpus] must be a table"),
        ("[corpus\n", "is not valid TOML"),
    ],
)
def test_a_mistake_is_named_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert says in message
    assert str(tmp_path / "r.toml") in message
    assert "\n" not in message


def test_an_override_that_names_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'seed' names no setting; write it as section\.key"):
        read(tmp_path, "", seed=1)


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the recipe"):
        read_recipe(tmp_path / "none.toml")


def test_a_key_that_came_later_is_written_down_only_where_it_is_used(tmp_path: Path) -> None:
    # Else a run of before could not be resumed, nor its model be made again to the bit.
    plain = read(tmp_path, "").to_dict()
    assert "precision" not in plain["training"]
    assert "shrinkages" not in plain["evidence"]
    used = read(tmp_path, "[training]\nprecision = 'bf16'\n[evidence]\nshrinkages = [0.3, 1]\n").to_dict()
    assert used["training"]["precision"] == "bf16"
    assert used["evidence"]["shrinkages"] == [0.3, 1.0]
