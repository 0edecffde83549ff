"""Who imports whom: the table of docs/explanation/architecture.md holds, and watching costs no torch."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "numpy", "scipy", "safetensors", "soundfile", "sounddevice"}
LIGHT = ("errors", "message", "feed.curve", "feed", "view", "config", "health")
"""What a machine that only watches imports."""

ONLY_IN = {
    "click": {"cli"},
    "prometheus_client": {"health"},
    "paho": {"health"},
    "opentelemetry": {"health"},
    "sounddevice": {"source"},
    "soundfile": {"source", "flac", "streamcab_train"},
    "zmq": {"feed"},
    "websockets": {"media"},
    "sqlalchemy": {"store"},
    "alembic": {"store"},
    "starlette": {"web", "shards"},
    "uvicorn": {"web"},
    "nats": {"sinks"},
    "redis": {"sinks"},
    "rich": {"view", "session", "streamcab_train"},
    "scipy": {"streamcab_train"},
    "safetensors": {"checkpoint", "streamcab_train"},
    "openvino": {"backend"},
    "torch": {
        "acb",
        "distiller",
        "trunk",
        "cabcnn",
        "backend",
        "device",
        "cli",
        "streamcab_train",
    },
}
"""Packages that are one part's business."""


BY_FILE = ("nn", "dsp", "audio", "evidence", "inference", "daemon", "record", "ops")
"""Packages whose files have a row each; the others have one row for the whole package."""


def part_of(path: Path) -> str:
    """The row of the table that a file belongs to."""
    inside = path.relative_to(ROOT).with_suffix("")
    return "streamcab_train" if inside.parts[0] == "train" else part_named(inside.parts[1:])


def part_named(names: Sequence[str]) -> str:
    """The row of a module, given its dotted name below `streamcab`, split."""
    return names[1] if names[0] in BY_FILE and len(names) > 1 else names[0]


def files() -> list[Path]:
    return sorted((ROOT / "streamcab").rglob("*.py")) + sorted((ROOT / "train").rglob("*.py"))


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Dotted names of all that a file imports, inside functions too, but for what only types need."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports by full names only"
            if node.module == "streamcab" or node.module in {f"streamcab.{package}" for package in BY_FILE}:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module or ""


def parts_imported(path: Path) -> set[str]:
    """The parts of streamcab and of streamcab_train that a file imports, itself left out."""
    found = set()
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == "streamcab" and rest and not rest.startswith("__"):
            found.add(part_named(rest.split(".")))
        elif top == "streamcab_train":
            found.add(top)
    return found - {part_of(path)}


def table() -> dict[str, set[str] | None]:
    """For each part what it may import; None for anything. From the document itself."""
    rows: dict[str, set[str] | None] = {}
    above: set[str] = set()
    text = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) != 3 or "`" not in cells[0]:
            continue
        parts = [
            name.rstrip("/").removesuffix(".py").split("/")[-1] for name in re.findall("`([^`]+)`", cells[0])
        ]
        words = cells[2]
        allowed: set[str] | None = set(re.findall(r"\w+", words))
        if words.startswith("anything"):
            allowed = None
        elif words == "the above":
            allowed = set(above)
        elif words.startswith("all but "):
            allowed = {"all but", *re.findall(r"\w+", words.removeprefix("all but "))}
        for part in parts:
            rows[part] = allowed
        above |= set(parts)
    return rows


TABLE = table()


def test_the_table_is_read() -> None:
    assert len(TABLE) > 20
    assert TABLE["errors"] == set()
    assert TABLE["weights"] == {"architecture", "detector", "integers", "voice"}
    assert TABLE["cli"] is None
    assert {"cabcnn", "normalise", "ring"} <= (TABLE["engine"] or set())


def test_every_file_stands_in_the_table() -> None:
    parts = {part_of(path) for path in files()} - {"__init__"}
    assert sorted(parts - TABLE.keys()) == [], "docs/explanation/architecture.md lacks a row"
    assert sorted(TABLE.keys() - parts) == [], "docs/explanation/architecture.md has a row too many"


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_imports_what_the_table_lets_it(path: Path) -> None:
    part = part_of(path)
    if part == "__init__":
        root = path.parent.name == "streamcab"
        lazy = {"classifier", "message", "stream"} if root else set()
        assert parts_imported(path) == lazy, "a package's __init__ stays empty"
        return
    allowed = TABLE[part]
    if allowed is None:
        return
    found = parts_imported(path)
    if "all but" in allowed:
        assert not found & (allowed - {"all but"})
        assert "streamcab_train" not in found
    else:
        assert sorted(found - allowed) == []


def test_nobody_imports_the_command_line_and_only_it_imports_training() -> None:
    for path in files():
        part, found = part_of(path), parts_imported(path)
        if not part.startswith(("cli", "__main__")):
            assert not any(name.startswith("cli") for name in found), path
            assert "streamcab_train" not in found, path


@pytest.mark.parametrize("package", ONLY_IN)
def test_a_package_is_one_parts_business(package: str) -> None:
    users = {part_of(path) for path in files() if any(n.split(".")[0] == package for n in imports(path))}
    assert users, f"{package} is imported nowhere"
    assert users <= ONLY_IN[package]


def modules_after(code: str) -> set[str]:
    """The names of all modules that a fresh Python has loaded after running this."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules, file=sys.stderr)"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return set(done.stderr.split())


@pytest.mark.parametrize("part", LIGHT)
def test_watching_loads_nothing_heavy(part: str) -> None:
    assert not HEAVY & modules_after(f"import streamcab.{part}")


def test_importing_streamcab_loads_nothing_heavy() -> None:
    loaded = modules_after("import streamcab\nassert streamcab.__version__")
    assert not HEAVY & loaded
    assert "numpy" in modules_after("import streamcab.audio.ring"), "this test can see what is loaded"


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["watch", "--help"], ["listen", "--help"], ["train", "--help"], ["--version"]],
    ids=" ".join,
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = f"""
from streamcab.cli import main
try:
    main({arguments!r})
except SystemExit as end:
    assert end.code == 0
"""
    assert not HEAVY & modules_after(code)


def test_watch_runs_without_torch() -> None:
    # A refused address ends it after everything that it needs to watch was imported.
    code = """
from streamcab.cli import main
try:
    main(["watch", "nonsense://x"])
except SystemExit as end:
    assert end.code in (1, 2), end.code
"""
    loaded = modules_after(code)
    assert "zmq" in loaded
    assert not HEAVY & loaded


def test_no_file_of_the_core_imports_in_a_circle() -> None:
    graph = {}
    for path in files():
        part = part_of(path)
        graph.setdefault(part, set()).update(parts_imported(path))
    for part in ("__init__", "cli", "__main__", "session"):
        graph.pop(part, None)
    done: set[str] = set()
    while ready := {
        part for part, needs in graph.items() if part not in done and needs & graph.keys() <= done
    }:
        done |= ready
    assert sorted(graph.keys() - done) == []


def test_no_package_imports_another_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for path in files():
        inside = path.relative_to(ROOT).with_suffix("").parts
        if inside[0] != "streamcab" or inside[1] in ("__init__", "__main__", "cli"):
            continue
        needs = {name.split(".")[1] for name in imports(path) if name.startswith("streamcab.")}
        graph.setdefault(inside[1], set()).update(needs - {inside[1]})
    done: set[str] = set()
    while ready := {
        part for part, needs in graph.items() if part not in done and needs & graph.keys() <= done
    }:
        done |= ready
    assert sorted(graph.keys() - done) == []
