"""What a setting is: its names, its range in words, and trees that become values and back."""

from pathlib import Path
from typing import Annotated, Literal

import pytest

from streamcab.config.setting import (
    FINITE,
    Section,
    Setting,
    build,
    listed,
    setting,
    settings_of,
    values_of,
)


class Inner(Section, frozen=True):
    """How far.

    More about it.
    """

    far: Annotated[float, setting("How far.", unit="km", least=0.5, most=9, reload=True)] = 2.0
    near: Annotated[int, setting("How near.", least=1, unset="nobody knows")] | None = None


class Tree(Section, frozen=True):
    """All."""

    inner: Inner = Inner()
    name_map: tuple[Annotated[Path, setting("Files.")], ...] = ()
    word: Annotated[Literal["on", "off"], setting("Which.")] | None = None
    hidden: tuple[Annotated[int, setting("Sizes.", least=1)], ...] = (8, 4)
    rate: Annotated[float, setting("How fast.", above=0, most=FINITE)] = 1e-3
    share: Annotated[float, setting("How much.", least=0, below=1)] = 0.0


ALL = settings_of(Tree)


def test_a_setting_has_one_name_in_three_spellings() -> None:
    one = ALL["name_map"]
    assert (one.name, one.key, one.option, one.variable) == (
        "name_map",
        "name-map",
        "--name-map",
        "STREAMCAB_NAME_MAP",
    )


def test_a_setting_knows_what_its_annotation_says() -> None:
    assert list(ALL) == ["far", "near", "name_map", "word", "hidden", "rate", "share"]
    far, near = ALL["far"], ALL["near"]
    assert (far.section, far.kind, far.default, far.unit, far.reload) == ("How far", float, 2.0, "km", True)
    assert (near.kind, near.default, near.reload, near.shown(None)) == (int, None, False, "nobody knows")
    assert (ALL["name_map"].kind, ALL["name_map"].many) == (Path, True)
    assert (ALL["word"].choices, ALL["word"].kind) == (("on", "off"), str)
    assert (ALL["hidden"].kind, ALL["hidden"].least, ALL["hidden"].help) == (int, 1, "Sizes.")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("far", "a number 0.5 to 9"),
        ("near", "a positive whole number"),
        ("word", "on or off"),
        ("name_map", "a path, or a list"),
        ("rate", "a number above 0 and finite"),
        ("share", "a number 0 or more and below 1"),
    ],
)
def test_what_is_wanted_is_said_in_words(name: str, wanted: str) -> None:
    assert ALL[name].wanted == wanted


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("far", [0.5, 9], [0.4, 9.1, float("nan")]),
        ("near", [1, 10**9], [0]),
        ("rate", [1e-9, 1e9], [0, -1, float("inf"), float("nan")]),
        ("share", [0, 0.99], [1, -0.1]),
    ],
)
def test_a_range_holds_its_numbers(name: str, right: list[float], wrong: list[float]) -> None:
    assert all(ALL[name].holds(value) for value in right)
    assert not any(ALL[name].holds(value) for value in wrong)


@pytest.mark.parametrize(("value", "shown"), [(2.0, "2 km"), (0.25, "0.25 km"), (None, "-")])
def test_values_are_shown_with_their_unit(value: object, shown: str) -> None:
    assert ALL["far"].shown(value) == shown


def test_a_tree_is_built_of_values_and_gives_them_back() -> None:
    tree = build(Tree, {"far": 3.0, "word": "on"})
    assert (tree.inner.far, tree.inner.near, tree.word, tree.hidden) == (3.0, None, "on", (8, 4))
    assert build(Tree, values_of(tree)) == tree


def test_a_name_may_stand_once() -> None:
    class Twice(Section, frozen=True):
        """All."""

        inner: Inner = Inner()
        far: Annotated[int, setting("Again.")] = 0

    with pytest.raises(AssertionError, match="far stands twice"):
        settings_of(Twice)


def test_words_are_listed() -> None:
    assert (listed(("a",)), listed(("a", "b")), listed(("a", "b", "c"))) == ("a", "a or b", "a, b or c")


def test_a_setting_without_a_default_is_required() -> None:
    class Needs(Section, frozen=True):
        """All."""

        out: Annotated[Path, setting("Where to.")]

    one: Setting = settings_of(Needs)["out"]
    assert one.required
    assert not ALL["far"].required
