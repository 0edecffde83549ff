"""Fixtures that several files of tests use."""

import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from virtual_microphone import TOOLS, VirtualMicrophone


@pytest.fixture
def virtual_microphone(monkeypatch: pytest.MonkeyPatch) -> Iterator[VirtualMicrophone]:
    """A microphone without hardware: device `pulse`, for this process and for those given its `env`."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(
            f"no virtual microphone without {', '.join(missing)}: apt install pulseaudio pulseaudio-utils"
        )
    # Not tmp_path: the name of a socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="mic") as home:
        microphone = VirtualMicrophone(Path(home))
        for key in ("HOME", "XDG_RUNTIME_DIR", "PULSE_SERVER", "PULSE_SOURCE"):
            monkeypatch.setenv(key, microphone.env[key])
        try:
            microphone.start()
            yield microphone
        finally:
            microphone.kill()


def pytest_configure() -> None:
    """A shell that runs us in the background has us ignore these; what the tests start must not inherit that."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """torch computes on one thread, as in the daemon: on a busy machine two wait for each other."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--measured", action="store_true", help="print what the tests of faults have measured")


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Callable[[str, float], None]:
    """Notes a measured number: `--measured` prints it, `--junitxml` keeps it. Nothing is asserted of it."""

    def note(what: str, value: float) -> None:
        record_property(what, round(value))

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not config.getoption("--measured"):
        return
    terminalreporter.section("measured")
    for report in terminalreporter.getreports("passed"):
        for what, value in report.user_properties:
            terminalreporter.write_line(f"{report.nodeid.split('::')[-1]:<60} {what:<28} {value:>8}")
