"""The settings that there are: every command's options are those of its tree, and every default is right."""

from pathlib import Path

import click
import msgspec
import pytest
from serving import here

from streamcab.classifier import Classifier
from streamcab.cli import main
from streamcab.cli.options import SettingOption
from streamcab.config.commands import TREES, known_names
from streamcab.config.setting import settings_of
from streamcab.config.tree import ENDPOINT, Answers, Listen, Rtp, Sources
from streamcab.daemon.settings import Settings
from streamcab.feed import Publisher, Subscriber
from streamcab.source.rtp import RtpSource


def defaults(function: object) -> dict[str, object]:
    """The defaults of a function's keyword arguments."""
    import inspect

    return {p.name: p.default for p in inspect.signature(function).parameters.values()}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "command", [name for name in TREES if name not in ("calls", "keys", "sinks", "train")]
)
def test_a_command_has_an_option_for_each_setting_of_its_tree(command: str) -> None:
    options = [p for p in main.commands[command].params if isinstance(p, SettingOption)]
    assert [p.setting for p in options] == list(settings_of(TREES[command]).values())
    for p in options:
        assert p.envvar == p.setting.variable
        assert p.setting.option in p.opts


def test_a_setting_without_a_default_must_be_said() -> None:
    done = here("log")
    assert done.returncode == 2
    assert b"Missing option '--out'" in done.stderr


@pytest.mark.parametrize("command", TREES)
def test_every_default_lies_in_its_range_and_every_setting_is_explained(command: str) -> None:
    for one in settings_of(TREES[command]).values():
        if isinstance(one.default, int | float):
            assert one.holds(one.default), one.name
        assert one.help.endswith("."), one.name
        assert one.section, one.name


def test_every_option_that_the_environment_can_set_is_a_setting_of_a_tree() -> None:
    def variables(command: click.Command) -> set[str]:
        below = command.commands.values() if isinstance(command, click.Group) else ()
        mine = {p.setting.name for p in command.params if isinstance(p, SettingOption)}
        other = [p.envvar for p in command.params if p.envvar and not isinstance(p, SettingOption)]
        assert set(other) <= {"STREAMCAB_CONFIG"}
        return mine.union(*map(variables, below))

    assert variables(main) == known_names()


def test_defaults_stand_once() -> None:
    settings, answers, rtp = Settings(ENDPOINT), Answers(), Rtp()
    assert (settings.window_s, settings.every_s, settings.max_lag_s) == (
        answers.window,
        answers.every,
        answers.max_lag,
    )
    assert settings.max_streams == Listen().max_streams
    source = defaults(RtpSource.__init__)
    assert (source["lookback_ms"], source["idle_s"]) == (rtp.lookback_ms, rtp.idle)
    stream = defaults(Classifier.stream)
    assert (stream["window_s"], stream["every_s"]) == (answers.window, answers.every)
    assert defaults(Publisher.__init__)["endpoint"] == defaults(Subscriber.__init__)["endpoint"] == ENDPOINT


def test_there_is_room_for_as_many_streams_as_the_sources_have_and_for_more_where_calls_come() -> None:
    calls = Listen(rtp=Rtp(rtp=("127.0.0.1:5004",)))
    files = Sources(device=("0",), file=(Path("a.wav"), Path("b.wav")), stdin="wav")
    each = msgspec.structs.replace(files, channel="each")
    found = [o.max_streams for o in (Listen(), Listen(sources=files), Listen(sources=each), calls)]
    assert found == [64, 4, 64, 1200]
    assert Listen(answers=Answers(max_streams=3), rtp=calls.rtp).max_streams == 3
