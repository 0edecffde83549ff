"""Settings: a file or a variable with a word that nobody knows is an error that names the nearest one."""

from pathlib import Path

import pytest

from streamcab.config.layers import check_environment, check_settings, read_settings, read_toml
from streamcab.config.setting import settings_of
from streamcab.config.tree import Listen
from streamcab.errors import ConfigError

ALL = settings_of(Listen)
KNOWN = {name: ALL[name] for name in ("model", "window", "every", "gate", "max_streams")}


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "listen.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_reads_the_keys_that_are_known(tmp_path: Path) -> None:
    path = write(
        tmp_path, 'model = "m.safetensors"\nwindow = 20\ngate = "off"\nfile = ["a", "b"]\nfast = true\n'
    )
    assert read_settings(path, ALL) == {
        "model": Path("m.safetensors"),
        "window": 20.0,
        "gate": "off",
        "file": (Path("a"), Path("b")),
        "fast": True,
    }


def test_one_value_need_not_be_a_list_and_a_number_needs_no_quotes(tmp_path: Path) -> None:
    path = write(tmp_path, 'device = 0\nrtp = "127.0.0.1:5004"\nchannel = 2\nwindow = "20"\n')
    assert read_settings(path, ALL) == {
        "device": ("0",),
        "rtp": ("127.0.0.1:5004",),
        "channel": "2",
        "window": 20.0,
    }


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    assert read_settings(write(tmp_path, b"\xef\xbb\xbfwindow = 3"), KNOWN) == {"window": 3.0}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("window = 'wide'", "window is 'wide'; it must be a number 0.1 to 3600"),
        ("window = 0", "window is 0; it must be a number 0.1 to 3600"),
        ("window = nan", "window is nan; "),
        ("window = inf", "window is inf; "),
        ("window = true", "window is true; "),
        ("window = [3]", "window is a list; it takes one value"),
        ("max-streams = 2.5", "max_streams is 2.5; it must be a whole number 1 to 1000000"),
        ("threads = 0", "threads is 0; it must be a positive whole number"),
        ("fast = 'yes'", "fast is 'yes'; it must be true or false"),
        ("gate = false", "gate is false; it can be on or off"),
        ("log-level = 'loud'", "log_level is 'loud'; it can be debug, info, warning or error"),
        ("device = [true]", "device is [True]; it must be text, or a list"),
    ],
)
def test_a_value_that_cannot_be_right_is_named_with_what_is(tmp_path: Path, text: str, says: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_settings(path, ALL)
    assert str(caught.value).startswith(f"{path}: {says}")


def test_all_that_is_wrong_can_be_had_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "window = 0\nevry = 1\nevery = 1\n")
    values, wrong = check_settings(path, ALL)
    assert values == {"every": 1.0}
    assert [line.removeprefix(f"{path}: ").split(";")[0] for line in wrong] == [
        "window is 0",
        "unknown key 'evry'",
    ]


def test_dashes_are_underscores(tmp_path: Path) -> None:
    assert read_settings(write(tmp_path, "max-streams = 3"), KNOWN) == {"max_streams": 3}


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    assert read_settings(write(tmp_path, "# nothing yet\n"), KNOWN) == {}


@pytest.mark.parametrize(
    ("key", "near"), [("windw", "window"), ("Gate", "gate"), ("max-stream", "max_streams")]
)
def test_an_unknown_key_names_the_file_and_the_nearest_key(tmp_path: Path, key: str, near: str) -> None:
    path = write(tmp_path, f"{key} = 1")
    with pytest.raises(ConfigError) as caught:
        read_settings(path, KNOWN)
    message = str(caught.value)
    assert str(path) in message
    assert key.replace("-", "_") in message
    assert f"did you mean {near}?" in message


def test_a_key_like_no_other_lists_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="known are every, gate, max_streams, model, window"):
        read_settings(write(tmp_path, "xyzzy = 1"), KNOWN)


def test_a_table_is_refused_even_under_a_known_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="window is a table"):
        read_settings(write(tmp_path, "[window]\nseconds = 3"), KNOWN)


@pytest.mark.parametrize("value", ["1979-05-27", "[[1]]", "[07:32:00]", "[{a = 1}]"])
def test_what_no_option_can_be_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match=r"window holds a (date|list|time|dict); write a number"):
        read_settings(write(tmp_path, f"window = {value}"), KNOWN)


def test_two_spellings_of_one_key_do_not_hide_each_other(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="max_streams"):
        read_settings(write(tmp_path, "max-streams = 3\nmax_streams = 4"), KNOWN)


@pytest.mark.parametrize(
    "text", ["window = ", "{json: 1}", "window 20", b"\xff\xfe\x00w", b"\x00" * 40, "a = 1\na = 2"]
)
def test_what_is_no_toml_is_refused_with_the_files_name(tmp_path: Path, text: str | bytes) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_settings(path, KNOWN)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigError) as caught:
            read_settings(path, KNOWN)
        assert str(path) in str(caught.value)


def test_a_recipe_that_is_not_here_is_the_one_that_came_with_streamcab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("configs/live.toml")
    assert "model" in read_toml(path, "recipe")
    with pytest.raises(ConfigError, match=r"configs/lve\.toml.*did you mean configs/live\.toml\?"):
        read_toml(Path("configs/lve.toml"), "recipe")
    path.parent.mkdir()
    path.write_text("[mine]\n", encoding="utf-8")
    assert read_toml(path, "recipe") == {"mine": {}}


def test_environment_of_known_names_and_of_others_passes() -> None:
    check_environment(
        {"STREAMCAB_WINDOW": "3", "STREAMCAB_MAX_STREAMS": "9", "PATH": "/bin", "WINDW": ""}, KNOWN
    )


def test_an_unknown_variable_names_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"STREAMCAB_WINDW; did you mean STREAMCAB_WINDOW\?"):
        check_environment({"STREAMCAB_WINDW": "3"}, KNOWN)


def test_a_configuration_error_is_exit_code_2() -> None:
    assert ConfigError.exit_code == 2
