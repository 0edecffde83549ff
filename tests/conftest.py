"""Fixtures that several files of tests use."""

import shutil
import signal
import tempfile
from collections.abc import Iterator
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
