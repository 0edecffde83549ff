"""Tables into a tree of settings: what is wrong is said in one line, with the key, the value and what is right."""

from typing import Annotated, Any, Literal

import msgspec
import pytest

from streamcab.config.convert import convert
from streamcab.config.setting import Section, setting
from streamcab.errors import ConfigError


class Far(Section, frozen=True):
    """How far."""

    km: Annotated[float, setting("How far.", least=0, most=9)] = 1.0
    steps: Annotated[int, setting("Steps.", least=1)] = 3
    name: Annotated[str, setting("What it is called.")] = ""
    loud: Annotated[bool, setting("Whether one hears it.")] = False
    word: Annotated[Literal["on", "off"], setting("Which.")] = "on"
    sizes: tuple[Annotated[int, setting("Sizes.", least=1)], ...] = (8, 4)
    names: tuple[Annotated[str, setting("Names.")], ...] = ()
    labels: Annotated[dict[str, str], setting("Label to class.")] = msgspec.field(default_factory=dict)


class Tree(Section, frozen=True):
    """All."""

    far: Far = Far()
    near: Far = Far()


def test_what_is_right_becomes_a_tree() -> None:
    table = {"far": {"km": 3, "sizes": [1, 2], "labels": {"a": "b"}, "word": "off", "loud": True}}
    tree = convert(table, Tree, "f")
    assert tree == Tree(far=Far(km=3.0, sizes=(1, 2), labels={"a": "b"}, word="off", loud=True))
    assert isinstance(tree.far.km, float)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"fur": {}}, "unknown section 'fur'; there are far, near"),
        ({"far": 3}, "[far] must be a table"),
        ({"far": {"kn": 3}}, "far: unknown key 'kn'; there are km, steps, name"),
        ({"near": {"km": "x"}}, "near.km is 'x'; it must be float"),
        ({"near": {"km": True}}, "near.km is True; it must be float"),
        ({"near": {"km": 10}}, "near.km is 10; it must be 0 to 9"),
        ({"near": {"km": float("nan")}}, "near.km is nan; it must be 0 to 9"),
        ({"far": {"steps": 0}}, "far.steps is 0; it must be positive"),
        ({"far": {"steps": 2.5}}, "far.steps is 2.5; it must be int"),
        ({"far": {"steps": True}}, "far.steps is True; it must be int"),
        ({"far": {"name": 1}}, "far.name is 1; it must be str"),
        ({"far": {"loud": 1}}, "far.loud is 1; it must be bool"),
        ({"far": {"word": "up"}}, "far.word is 'up'; it can be on or off"),
        ({"far": {"sizes": 3}}, "far.sizes is 3; it must be a list of integers"),
        ({"far": {"sizes": [3, "x"]}}, "far.sizes is [3, 'x']; it must be a list of integers"),
        ({"far": {"sizes": [3, 0]}}, "far.sizes are [3, 0]; each must be positive"),
        ({"far": {"names": [1]}}, "far.names is [1]; it must be a list of strings"),
        ({"far": {"labels": 3}}, "far.labels is 3; it must be a table of strings"),
        ({"far": {"labels": {"a": 1}}}, "far.labels is {'a': 1}; it must be a table of strings"),
    ],
)
def test_what_is_wrong_is_one_line(table: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        convert(table, Tree, "f.toml")
    assert str(caught.value).startswith(f"f.toml: {says}")
    assert "\n" not in str(caught.value)
