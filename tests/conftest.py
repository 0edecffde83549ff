"""Fixtures that several files of tests use."""

import gc
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import hypothesis
import pytest
from scheduling import ByFile, rank
from virtual_microphone import TOOLS, VirtualMicrophone
from xdist.remote import Producer

hypothesis.settings.register_profile(
    "repeatable", derandomize=True, database=None, print_blob=True, deadline=None
)
hypothesis.settings.register_profile("random", print_blob=True, deadline=None)
hypothesis.settings.load_profile("repeatable")  # `make test-all` takes the other: --hypothesis-profile=random

DEFAULT_PORTS = {
    5557: "SOCK_STREAM",
    9464: "SOCK_STREAM",
    1883: "SOCK_STREAM",
    5004: "SOCK_DGRAM",
    5005: "SOCK_DGRAM",
}
"""Feed, metrics, MQTT, RTP and RTCP: kept from the tests, so that one which wants a default port fails everywhere."""
FOLDERS = ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "TMUX_TMPDIR")
"""Variables of folders that all programs of a user share."""
MEANT_FOR_TESTS = {"STREAMCAB_CORPUS"}


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


def pytest_configure(config: pytest.Config) -> None:
    # A shell that runs us in the background has us ignore these; what the tests start must not inherit that.
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
    keep_to_ourselves(config)


def keep_to_ourselves(config: pytest.Config) -> None:
    """Nothing of this user is seen or touched: settings, keys, caches, sockets, and the ports of a running daemon."""
    held = ExitStack()
    config.add_cleanup(held.close)
    # Not tmp_path: the name of a socket has at most 107 bytes.
    home = Path(
        held.enter_context(tempfile.TemporaryDirectory(prefix="streamcab", ignore_cleanup_errors=True))
    )
    for name in FOLDERS:
        folder = home / name.partition("_")[2].lower()
        folder.mkdir(mode=0o700)
        os.environ[name] = str(folder)
    for name in [
        name for name in os.environ if name.startswith("STREAMCAB_") and name not in MEANT_FOR_TESTS
    ]:
        del os.environ[name]
    for port, kind in DEFAULT_PORTS.items():
        sock = held.enter_context(socket.socket(socket.AF_INET, getattr(socket, kind)))
        with suppress(OSError):  # then another holds it
            sock.bind(("127.0.0.1", port))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """The same draws in each run. torch computes on one thread, as in the daemon: two wait for each other."""
    random.seed(0)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
        torch.manual_seed(0)


def pytest_collection_finish() -> None:
    """A test that collects garbage need not walk through torch and all the tests, which takes a third of a second."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: rank(item.path))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    # Not `--dist loadgroup`: pytest-xdist 3.8 finds no group with pytest 9.2, and says nothing.
    return ByFile(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What was logged may hold a file's name that is no UTF-8, and pytest-xdist sends text as UTF-8."""
    report = yield
    report.sections = [
        (title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections
    ]
    return report


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
