"""`streamcab config`: where each value came from, and all that is wrong with a file."""

import json
from pathlib import Path

import pytest
from serving import here

from streamcab.config.setting import settings_of
from streamcab.config.tree import Listen

CONFIGS = Path(__file__).parents[1] / "configs"


def shown(*words: str | Path, **env: str) -> dict[str, tuple[str, str]]:
    """Value and origin of each setting that `config show` names."""
    done = here("config", "show", *words, env=env)
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.split("  ") if cell] for line in done.stdout.decode().splitlines()]
    return {key: (value, origin) for key, value, origin in rows}


def test_each_setting_is_shown_with_its_origin(tmp_path: Path) -> None:
    file = tmp_path / "mic.toml"
    file.write_text('every = 0.2\nwindow = 10\nmax-lag = 4\ndevice = ["USB", 1]\n')
    rows = shown("--config", file, "--max-lag", "3", STREAMCAB_WINDOW="20")
    assert list(rows) == [one.key for one in settings_of(Listen).values()]
    assert rows["max-lag"] == ("3 s", "command line")
    assert rows["window"] == ("20 s", "STREAMCAB_WINDOW")
    assert rows["every"] == ("0.2 s", str(file))
    assert rows["device"] == ("USB, 1", str(file))
    assert rows["endpoint"] == ("tcp://127.0.0.1:5557", "default")
    assert rows["model"] == ("the bundled model", "default")


def test_another_command_has_other_settings() -> None:
    assert shown("watch", "--every", "5")["every"] == ("5 s", "command line")
    assert shown("metrics")["listen"] == ("127.0.0.1:9464", "default")


def test_words_that_are_no_settings_may_be_there_or_not() -> None:
    assert shown("classify")["compute"] == shown("classify", "a.wav")["compute"] == ("auto", "default")
    assert shown("bridge", "mqtt", "--base", "hall")["base"] == ("hall", "command line")


def test_it_is_json_on_demand() -> None:
    done = here("config", "show", "--json", "--rtp", "127.0.0.1:5004", "--gate", "off")
    rows = {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert rows["rtp"] == {"name": "rtp", "value": ["127.0.0.1:5004"], "unit": "", "from": "command line"}
    assert rows["window"] == {"name": "window", "value": 30.0, "unit": "s", "from": "default"}
    assert rows["model"]["value"] is None


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("devices",), "'devices' is not a command with settings; choose from listen, watch"),
        (("--window", "wide"), "'wide' is not a valid float range"),
        (("--windw", "3"), "No such option"),
        (("--config", "none.toml"), "cannot read the configuration none.toml"),
    ],
)
def test_what_cannot_be_shown_is_one_line(words: tuple[str, ...], says: str) -> None:
    done = here("config", "show", *words)
    assert done.returncode == 2
    assert says in done.stderr.decode()


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.toml")), ids=lambda f: f.name)
def test_the_files_that_ship_are_right(file: Path) -> None:
    done = here("config", "check", file)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().rstrip().endswith("no errors")


def test_all_that_is_wrong_is_said(tmp_path: Path) -> None:
    file = tmp_path / "mic.toml"
    file.write_text("evry = 1\nwindow = 0\nlog-level = 'loud'\nquiet = true\n")
    done = here("config", "check", file)
    assert done.returncode == 2
    assert done.stderr.decode().splitlines() == [
        f"Error: {file}: unknown key 'evry'; did you mean every?",
        f"Error: {file}: window is 0; it must be a number 0.1 to 3600",
        f"Error: {file}: log_level is 'loud'; it can be debug, info, warning or error",
    ]


def test_a_file_is_right_for_one_command_and_wrong_for_another(tmp_path: Path) -> None:
    file = tmp_path / "watch.toml"
    file.write_text("stream = 'hall'\n")
    assert here("config", "check", file, "--command", "watch").returncode == 0
    assert b"unknown key 'stream'" in here("config", "check", file).stderr


def test_a_recipe_is_checked_as_one(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text("[training]\nbatch = 0\n")
    done = here("config", "check", file)
    assert done.returncode == 2
    assert b"training.batch is 0; it must be positive" in done.stderr
