"""What the documents name is there: options of commands, files of the tree, links between pages."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from streamcab.cli import main

ROOT = Path(__file__).parents[1]
OTHERS = {
    "--corpus",  # benchmarks/backends.py
    "--halves",  # benchmarks/mfcc_covariance.py
    "--measured",  # tests/conftest.py
    "--no-deps",  # pip
    "--nproc-per-node",  # torchrun
    "--packages",  # tools/make_clips.py
    "--shuffles",  # benchmarks/mfcc_covariance.py
    "--unheard",  # streamcab_train.held_out
    "--wheels",  # benchmarks/full_size.py
    *("--build", "--cap-drop", "--network", "--read-only", "--rm", "--tmpfs"),  # podman
    *("--build-arg", "--include", "--variant"),  # buildah, debootstrap
    *("--from-file", "--from-literal"),  # kubectl
}
"""Options of other programs than ours."""


def pages() -> list[str]:
    """All Markdown that git knows, or would take."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout", allow_module_level=True)
    return done.stdout.split()


PAGES = pages()


def options(command: click.Command) -> Iterator[str]:
    """The long options of a command and of all below it."""
    for param in command.params:
        yield from (o for o in [*param.opts, *param.secondary_opts] if o.startswith("--"))
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        yield from options(below)


OURS = {*options(main), "--help", "--version"}


@pytest.mark.parametrize("page", PAGES)
def test_every_option_that_a_page_names_is_there(page: str) -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", (ROOT / page).read_text(encoding="utf-8")))
    assert sorted(named - OURS - OTHERS) == []


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    folders = "streamcab|tests|train|docs|configs|tools|benchmarks|systemd|examples"
    named = set(re.findall(rf"`((?:{folders})/[\w./@-]+\.\w+)`", (ROOT / page).read_text(encoding="utf-8")))
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    linked = set(re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text(encoding="utf-8")))
    assert sorted(path for path in linked if not (ROOT / page).parent.joinpath(path).exists()) == []


def test_this_test_can_see_options() -> None:
    assert {"--max-streams", "--fit-temperature", "--find-max", "--allow-shared-speakers"} <= OURS
    assert "README.md" in PAGES
