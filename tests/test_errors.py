"""One tree of failures: its picture in the docstring is the tree, and every failure of the package hangs in it."""

import importlib
import pkgutil
import re

import pytest

import streamcab
from streamcab import errors
from streamcab.errors import StreamcabError


def below(kind):
    for child in kind.__subclasses__():
        yield child
        yield from below(child)


def test_the_picture_is_the_tree():
    drawn = re.findall(r"^( *)\+-- (\w+) +exit (\d+)", errors.__doc__, re.MULTILINE)
    assert len(drawn) == len(re.findall(r"\+--", errors.__doc__))
    above = {0: "StreamcabError"}
    for indent, name, code in drawn:
        depth = len(indent) // 4 - 1
        kind = getattr(errors, name)
        assert kind.__bases__ == (getattr(errors, above[depth]),), name
        assert kind.exit_code == int(code), name
        above[depth + 1] = name
    assert {name for _, name, _ in drawn} == {kind.__name__ for kind in below(StreamcabError)}


@pytest.mark.parametrize("package", ["streamcab", "streamcab_train"])
def test_no_other_file_makes_a_failure_of_its_own(package):
    root = importlib.import_module(package)
    for module in pkgutil.walk_packages(root.__path__, f"{package}."):
        # What wants a GPU, an extra or a terminal, or runs when it is imported, defines no errors either.
        if module.name.endswith(("__main__", ".openvino", ".openvino_net", ".unreported", ".align")):
            continue
        importlib.import_module(module.name)
    assert {kind.__module__ for kind in below(StreamcabError)} == {"streamcab.errors"}


def test_a_failure_is_its_message_and_remembers_what_in_it_is_secret():
    error = errors.SourceError("no device 'USB'", secrets=["USB"])
    assert str(error) == "no device 'USB'"
    assert error.secrets == ("USB",)
    assert StreamcabError().secrets == ()
    assert streamcab.__version__
