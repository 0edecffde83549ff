"""Microphones: a virtual one that is played to, unplugged and killed; and devices that it cannot be."""

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from patience import PATIENCE_S, until
from signals import newest, peak_hz, tone, write_wav
from virtual_microphone import VirtualMicrophone

from streamcab.errors import ConfigError, SourceError
from streamcab.source import GONE, Line
from streamcab.source import device as device_module
from streamcab.source import microphone as microphone_module
from streamcab.source.device import Device, find_again, find_device, list_devices
from streamcab.source.microphone import Microphone

RETRY = (0.05, 0.2)


@pytest.fixture
def opened() -> Iterator[Callable[..., Microphone]]:
    """Starts microphones, and closes them."""
    all_of_them: list[Microphone] = []

    def open_one(*arguments: object, **settings: object) -> Microphone:
        microphone = Microphone(*arguments, **settings)  # type: ignore[arg-type]
        all_of_them.append(microphone)
        microphone.start()
        until(lambda: microphone.line.bank.written[0] > 0, what="the microphone delivers nothing")
        return microphone

    yield open_one
    for microphone in all_of_them:
        microphone.close()


def hears(line: Line, hz: float) -> bool:
    """Whether the last half second is this tone."""
    n = line.bank.rate // 2
    if line.bank.written[0] < n:
        return False
    sound = newest(line, n)
    return bool(np.abs(sound).max() > 0.1 and abs(peak_hz(sound, line.bank.rate) - hz) <= 2)


def instant(line: Line) -> tuple[int, float]:
    """Samples so far, and when the last of them was captured."""
    while True:
        written, stamp = int(line.bank.written[0]), float(line.bank.stamp[0])
        if written == line.bank.written[0] and stamp == line.bank.stamp[0]:
            return written, stamp


@pytest.mark.audio
@pytest.mark.parametrize("device", [0, "PULS", "default"])
def test_what_is_played_is_in_the_ring(
    virtual_microphone: VirtualMicrophone,
    opened: Callable[..., Microphone],
    tmp_path: Path,
    device: int | str,
) -> None:
    microphone = opened(device)
    line = microphone.line
    assert microphone.live
    assert line.bank.rate == list_devices()[0].rate
    assert line.bank.capacity == 10 * line.bank.rate
    virtual_microphone.play(write_wav(tmp_path / "a.wav", tone(440, 3, 48000), 48000))
    until(lambda: hears(line, 440), what="the tone is not heard")
    assert microphone.streams() == [line]
    assert microphone.streams() == []
    _, stamp = instant(line)
    assert stamp <= time.monotonic()
    assert not microphone.done
    microphone.close()
    assert line.bank.ended[0]
    assert microphone.done
    assert line.state == "ended"
    assert microphone.counters() == {"overflows": 0, "skipped": 0, "not_a_number": 0, "reopened": 0}


@pytest.mark.audio
@pytest.mark.parametrize("blocks_per_second", [44_100, 1_009, 7])
def test_blocks_of_one_sample_and_of_odd_sizes_are_heard_without_a_gap(
    virtual_microphone: VirtualMicrophone,
    opened: Callable[..., Microphone],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    blocks_per_second: int,
) -> None:
    for module in (device_module, microphone_module):
        monkeypatch.setattr(module, "BLOCKS_PER_SECOND", blocks_per_second)
    monkeypatch.setenv("PULSE_LATENCY_MSEC", "1")
    microphone = opened("pulse")
    line = microphone.line
    assert line.bank.rate // blocks_per_second == {44_100: 1, 1_009: 43, 7: 6_300}[blocks_per_second]
    virtual_microphone.play(write_wav(tmp_path / "a.wav", tone(440, 4, 48000), 48000))
    until(lambda: hears(line, 440), what="the tone is not heard")
    written = int(line.bank.written[0])
    until(lambda: line.bank.written[0] > written + line.bank.rate, what="nothing comes any more")
    assert line.state == "live"
    assert microphone.counters() == {"overflows": 0, "skipped": 0, "not_a_number": 0, "reopened": 0}


@pytest.mark.audio
def test_left_and_right_are_heard_apart(
    virtual_microphone: VirtualMicrophone, opened: Callable[..., Microphone], tmp_path: Path
) -> None:
    virtual_microphone.unplug()
    virtual_microphone.plug(channels=2)
    left, right = opened("pulse", "left", "l"), opened("pulse", "right", "r")
    both = np.stack([tone(440, 3, 48000), tone(1000, 3, 48000)], 1)
    virtual_microphone.play(write_wav(tmp_path / "a.wav", both, 48000))
    until(lambda: hears(left.line, 440) and hears(right.line, 1000), what="the channels are not heard apart")
    assert (left.line.name, right.line.name) == ("l", "r")


@pytest.mark.audio
def test_each_channel_of_a_microphone_is_a_stream_also_when_it_returns_with_one(
    virtual_microphone: VirtualMicrophone, opened: Callable[..., Microphone], tmp_path: Path
) -> None:
    virtual_microphone.unplug()
    virtual_microphone.plug(channels=2)
    microphone = opened("pulse", "each", "mic", retry=RETRY)
    lines = microphone.streams()
    assert [line.name for line in lines] == ["mic-1", "mic-2"]
    both = np.stack([tone(440, 3, 48000), tone(1000, 3, 48000)], 1)
    virtual_microphone.play(write_wav(tmp_path / "a.wav", both, 48000))
    until(lambda: hears(lines[0], 440) and hears(lines[1], 1000), what="the channels are not heard apart")
    virtual_microphone.unplug()
    until(lambda: all(line.state in GONE for line in lines), what="the loss is not noticed")
    virtual_microphone.plug()
    until(lambda: all(line.state == "live" for line in lines), what="it is not taken up again")
    assert lines[0].bank.skipped[0] == lines[0].bank.skipped[1] > 0
    virtual_microphone.play(write_wav(tmp_path / "b.wav", tone(440, 3, 48000), 48000))
    until(lambda: hears(lines[0], 440), what="the microphone is deaf since it returned")


@pytest.mark.audio
def test_the_devices_are_listed(virtual_microphone: VirtualMicrophone) -> None:
    devices = {d.name: d for d in list_devices()}
    assert devices["pulse"].host_api == "ALSA"
    assert devices["pulse"].rate == 44100
    assert devices["pulse"].channels == 32
    assert [d.name for d in devices.values() if d.default] == ["default"]
    virtual_microphone.kill()
    assert "pulse" not in {d.name for d in list_devices()}  # the list is not the one of the first look


@pytest.mark.audio
def test_an_unknown_microphone_is_refused_with_the_others(
    virtual_microphone: VirtualMicrophone,
) -> None:
    with pytest.raises(SourceError, match=r"'Scarlett'.*0 'pulse'.*streamcab devices") as error:
        Microphone("Scarlett").start()
    assert "\n" not in str(error.value)


@pytest.mark.audio
def test_a_channel_that_is_not_there_leaves_nothing_open(
    virtual_microphone: VirtualMicrophone,
) -> None:
    with pytest.raises(ConfigError, match=r"channel 33.*32"):
        Microphone("pulse", "33").start()
    virtual_microphone.kill()
    assert list_devices() == []  # looked anew: that happens only when nothing is open


@pytest.mark.audio
@pytest.mark.parametrize("how", ["unplugged", "server killed"])
def test_a_lost_microphone_is_taken_up_again_and_the_gap_is_missing(
    virtual_microphone: VirtualMicrophone,
    opened: Callable[..., Microphone],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    measured: Callable[[str, float], None],
    how: str,
) -> None:
    caplog.set_level(logging.INFO, "streamcab.source")
    microphone = opened("pulse", name="mic")
    line = microphone.line
    before, then = instant(line)
    if how == "unplugged":
        virtual_microphone.unplug()
    else:
        virtual_microphone.kill()
    began = time.monotonic()
    until(lambda: line.state in GONE, what="the loss is not noticed")
    measured(f"{how} to lost, ms", 1000 * (time.monotonic() - began))
    assert "'pulse'" in line.detail
    assert not line.bank.ended[0]
    assert not microphone.done
    gone = int(line.bank.written[0])
    if how == "unplugged":
        virtual_microphone.plug()
    else:
        virtual_microphone.start()
    began = time.monotonic()
    until(lambda: line.state == "live", what="the microphone is not taken up again")
    measured("plugged to live, ms", 1000 * (time.monotonic() - began))
    after, now = instant(line)
    assert line.detail == ""
    skipped = int(line.bank.skipped[0])
    assert skipped > 0
    assert np.isnan(line.bank.read(np.array([0]), np.array([gone]), skipped)[0]).all()
    # Stream time is the world's time, the gap included.
    assert (after - before) / line.bank.rate == pytest.approx(now - then, abs=0.3)
    virtual_microphone.play(write_wav(tmp_path / "a.wav", tone(440, 3, 48000), 48000))
    until(lambda: hears(line, 440), what="the microphone is deaf since it returned")
    assert microphone.counters()["reopened"] == 1
    said = [r.getMessage().split(":")[1] for r in caplog.records]
    assert [state for state in said if state != " stalled"] == [
        " live",
        " lost",
        " reconnecting",
        " live again",
    ]


@pytest.mark.audio
def test_a_microphone_that_returns_under_another_number_is_found_by_its_name(
    virtual_microphone: VirtualMicrophone, opened: Callable[..., Microphone], tmp_path: Path
) -> None:
    virtual_microphone.shelve("desk_mic")
    before = {d.name: d.index for d in list_devices()}
    microphone = opened("desk_mic", retry=RETRY)
    line = microphone.line
    virtual_microphone.kill()
    until(lambda: line.state in GONE, what="the loss is not noticed")
    virtual_microphone.shelve("a_webcam", "another", "desk_mic")
    virtual_microphone.start()
    until(lambda: line.state == "live", what="the microphone is not taken up again")
    assert microphone._device.name == "desk_mic"
    assert microphone._device.index != before["desk_mic"]
    virtual_microphone.play(write_wav(tmp_path / "a.wav", tone(440, 3, 48000), 48000))
    until(lambda: hears(line, 440), what="another device was opened")


@pytest.mark.audio
def test_a_microphone_that_stalls_without_an_error_is_said_to_and_is_live_again(
    virtual_microphone: VirtualMicrophone,
    opened: Callable[..., Microphone],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A server that hangs for a moment and comes to itself: nothing was lost, and nothing is opened again."""
    caplog.set_level(logging.INFO, "streamcab.source")
    microphone = opened("pulse", name="mic", patience=20)
    microphone._stall_s = 0.5
    line = microphone.line
    virtual_microphone.freeze()
    until(
        lambda: microphone.streams() is not None and line.state == "stalled", what="the stall is not noticed"
    )
    virtual_microphone.thaw()
    until(lambda: line.state == "live", what="the microphone stays stalled")
    assert microphone.counters()["reopened"] == 0
    assert [r.getMessage().split(":")[1] for r in caplog.records] == [" live", " stalled", " live again"]


@pytest.mark.audio
def test_the_search_for_a_lost_microphone_is_no_busy_loop(
    virtual_microphone: VirtualMicrophone, opened: Callable[..., Microphone]
) -> None:
    microphone = opened("pulse")
    virtual_microphone.kill()
    until(lambda: microphone.line.state == "reconnecting", what="the search does not begin")
    began = time.monotonic()
    until(lambda: microphone._attempts >= 2, what="it is not searched for")
    until(lambda: time.monotonic() - began > 2)
    # After 0.5 to 1 s, 1 to 2 s more, 2 to 4 s more; a busy machine makes it fewer, not more.
    assert microphone._attempts <= 2 + (time.monotonic() - began) / 0.5


@pytest.mark.audio
def test_a_lost_microphone_can_be_closed(
    virtual_microphone: VirtualMicrophone, opened: Callable[..., Microphone]
) -> None:
    microphone = opened("pulse", retry=(5, 10))
    virtual_microphone.kill()
    until(lambda: microphone.line.state in GONE)
    microphone.close()
    assert microphone.line.bank.ended[0]  # set by the thread, as the last thing it does
    assert microphone.done


HOLD = """
import threading
from streamcab.source import GONE
from streamcab.source.microphone import Microphone

microphone = Microphone("pulse")
microphone.start()
while not microphone.line.bank.written[0]:
    threading.Event().wait(0.01)
print("open", flush=True)
while microphone.line.state not in GONE:
    microphone.streams()
    threading.Event().wait(0.01)
print(microphone.line.detail, flush=True)
microphone.close()
print("closed", flush=True)
"""


@pytest.mark.audio
def test_a_sound_server_that_hangs_keeps_no_process_from_ending(
    virtual_microphone: VirtualMicrophone,
) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            virtual_microphone.freeze()
            assert "no samples for 1 s; it is reopened" in process.stdout.readline()
            assert process.stdout.readline() == "closed\n"
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()


def device(index: int, name: str, host_api: str = "ALSA") -> Device:
    return Device(index, name, 2, 48000, False, host_api)


SHELF = [
    device(0, "Scarlett 2i2: USB Audio (hw:1,0)"),
    device(3, "HDA Intel PCH: ALC257 (hw:0,0)"),
    device(4, "sysdefault"),
    device(7, "default"),
    device(9, "Line 1", "JACK"),
]


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (0, 0),
        ("3", 3),
        ("scarlett", 0),
        ("ALC257", 3),
        ("default", 7),
        ("DEFAULT", 7),
        ("sysd", 4),
        ("jack", 9),
    ],
)
def test_a_device_is_found_by_index_or_part_of_its_name(wanted: int | str, index: int) -> None:
    assert find_device(wanted, SHELF).index == index


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ("hw:", "'hw:' names 2 microphones: 0 'Scarlett.*', 3 'HDA.*'; see `streamcab devices`"),
        ("rode", "no microphone 'rode'; there are: 0 'Scarlett.*9 'Line 1'; see `streamcab devices`"),
        (1, "no microphone 1; there are: 0 "),
        ("12", "no microphone 12; there are"),
    ],
)
def test_none_or_several_are_refused_with_the_candidates(wanted: int | str, says: str) -> None:
    with pytest.raises(SourceError, match=says):
        find_device(wanted, SHELF)


def test_a_machine_without_microphones_says_so() -> None:
    with pytest.raises(SourceError, match="no device that records was found"):
        find_device("mic", [])


def test_a_device_is_found_again_by_its_name_wherever_it_is_now() -> None:
    lost = SHELF[0]
    assert find_again(lost, [device(5, lost.name), device(6, "Scarlett 4i4")]).index == 5
    assert find_again(lost, [device(2, "Scarlett 2i2: USB Audio (hw:4,0)")]).index == 2
    with pytest.raises(SourceError, match="gone"):
        find_again(lost, SHELF[1:])


def test_without_portaudio_the_user_learns_what_to_install() -> None:
    script = (
        "import ctypes.util; ctypes.util.find_library = lambda name: None\n"
        "from streamcab.source.device import SourceError, list_devices\n"
        "try: list_devices()\n"
        "except SourceError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (
        done.stdout == "the PortAudio library is missing, which microphones need: apt install libportaudio2\n"
    )


class FakeStream:
    """A device as PortAudio shows it, which delivers what it is told: arrays, flags, errors, or nothing."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.blocks: list[tuple[np.ndarray, bool] | Exception] = []
        self.active = True
        self.channels = 1
        self.aborted = self.closed = False

    @property
    def read_available(self) -> int:
        if self.blocks and isinstance(self.blocks[0], Exception):
            raise self.blocks.pop(0)  # type: ignore[misc]
        return len(self.blocks[0][0]) if self.blocks else 0

    def read(self, n: int) -> tuple[np.ndarray, bool]:
        frames, overflowed = self.blocks.pop(0)  # type: ignore[misc]
        assert len(frames) == n, "asked for more than there is: that blocks for ever"
        return frames, overflowed

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.closed = True


class FakeMicrophone(Microphone):
    """A microphone whose devices are fakes: each opening takes the next of `devices`, or fails with it."""

    def __init__(self, *devices: FakeStream | SourceError, **settings: object) -> None:
        super().__init__("fake", name="mic", **settings)  # type: ignore[arg-type]
        self.devices = list(devices)
        self.tries = 0

    def start(self) -> None:
        self._device = device(0, "fake")
        self._rate = 8000
        self._stream = self._open()
        self._name_line()

    def _find_again(self) -> Device:
        return self._device

    def _open(self) -> FakeStream:
        self.tries += 1
        taken = self.devices.pop(0)
        if isinstance(taken, Exception):
            raise taken
        return taken

    def _shut(self, stream: FakeStream) -> None:
        stream.abort()
        stream.close()


def block(value: float, n: int = 80) -> np.ndarray:
    return np.full((n, 1), value, np.float32)


def test_overflows_are_counted_never_raised_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    from sounddevice import PortAudioError

    stream = FakeStream(8000)
    stream.blocks = [(block(0.1), False), (block(0.2), True), PortAudioError("Input overflowed", -9981)]
    stream.blocks += [(block(0.3), False)]
    microphone = FakeMicrophone(stream)
    microphone.start()
    line = microphone.line
    until(lambda: line.bank.written[0] >= 240)
    assert line.state == "live"
    assert line.bank.overflows[0] == 2
    assert microphone.counters()["overflows"] == 2
    heard = newest(line, int(line.bank.written[0]))
    np.testing.assert_array_equal(np.unique(heard[~np.isnan(heard)]), np.float32([0.1, 0.2, 0.3]))
    warned = [r.getMessage().split(":")[1] for r in caplog.records if r.levelno >= logging.WARNING]
    assert warned[0] == " the device overflowed (1 times so far)"
    microphone.close()
    assert stream.aborted
    assert stream.closed


def test_what_is_no_number_becomes_missing_and_is_counted() -> None:
    stream = FakeStream(8000)
    sound = block(0.25)
    sound[7], sound[9] = np.nan, np.inf
    stream.blocks = [(sound, False)]
    microphone = FakeMicrophone(stream)
    microphone.start()
    until(lambda: microphone.line.bank.written[0] == 80)
    assert np.flatnonzero(np.isnan(newest(microphone.line, 80))).tolist() == [7, 9]
    assert microphone.counters()["not_a_number"] == 2
    microphone.close()


@pytest.mark.parametrize("how", ["silence", "stopped", "error"])
def test_every_way_of_dying_is_a_loss_and_the_search_goes_on(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    from sounddevice import PortAudioError

    first, second = FakeStream(8000), FakeStream(8000)
    first.blocks = [(block(0.1), False)]
    if how == "error":
        first.blocks += [PortAudioError("Unanticipated host error", -9999)]
    if how == "stopped":
        first.active = False
    gone = SourceError("not there yet")
    microphone = FakeMicrophone(first, gone, gone, second, patience=0.05, retry=(0.01, 0.02))
    caplog.set_level(logging.INFO, "streamcab.source")
    microphone.start()
    line = microphone.line
    until(lambda: line.state in GONE)
    why = {
        "silence": "no samples for 0.05 s",
        "stopped": "the device stopped",
        "error": "Unanticipated host error",
    }
    until(lambda: microphone.tries == 4)
    assert first.aborted
    assert first.closed
    assert line.state == "reconnecting"  # opening alone is no proof of life
    second.blocks = [(block(0.2), False)]
    until(lambda: line.state == "live")
    assert line.bank.skipped[0] == line.bank.written[0] - 160
    assert line.bank.skipped[0] > 0

    def messages() -> list[str]:
        return [r.getMessage() for r in caplog.records if "stalled" not in r.getMessage()]

    until(lambda: len(messages()) >= 4)  # a state is said after it is reached
    first_live, *said = [m.split(":")[1] for m in messages()]
    assert (first_live, *said) == (" live", " lost", " reconnecting", " live again")
    assert why[how] in messages()[1]
    microphone.close()
    assert second.closed


def test_a_driver_that_hangs_is_told_of_and_does_not_hold_up_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamcab.source.microphone.HANGS_S", 0.05)
    freed = threading.Event()

    class Hanging(FakeStream):
        @property
        def read_available(self) -> int:
            freed.wait()
            return 0

    microphone = FakeMicrophone(Hanging(8000))
    microphone.start()
    line = microphone.line
    assert microphone.streams() == [line]
    until(lambda: microphone.streams() == [] and line.state == "lost")
    assert "its driver has hung" in line.detail
    microphone.close()
    assert microphone.done
    assert not line.bank.ended[0]  # the thread is still in the driver, and close has returned
    freed.set()
    until(lambda: bool(line.bank.ended[0]))


def test_the_pauses_between_attempts_grow_to_the_longest_and_are_jittered() -> None:
    stream = FakeStream(8000)
    stream.active = False
    gone = [SourceError("not there")] * 50
    microphone = FakeMicrophone(stream, *gone, retry=(0.5, 10.0))
    pauses = []

    class Impatient:
        """An event that does not wait, and is set in the end."""

        def wait(self, seconds: float) -> bool:
            pauses.append(seconds)
            return len(pauses) > 40

        def is_set(self) -> bool:
            return len(pauses) > 40

        def set(self) -> None:
            pass

    microphone._stop = Impatient()  # type: ignore[assignment]
    microphone.start()
    until(lambda: bool(microphone.line.bank.ended[0]))
    assert 0.5 <= pauses[0] <= 1.0
    assert all(0.5 <= p <= 10.0 for p in pauses)
    assert all(p >= 5.0 for p in pauses[10:])
    assert len(set(pauses)) == len(pauses)
    microphone.close()
