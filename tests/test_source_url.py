"""Streams of the net: real servers of RTSP, Icecast and HLS, that go away and come back; and what is no address."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from net_servers import has_icecast, has_rtsp, icecast, rtsp, segments, web
from patience import PATIENCE_S, until
from ports import free_port
from serving import here

from streamcab.errors import ConfigError, SourceError
from streamcab.source import Line
from streamcab.source.url import NetStream

pytest.importorskip("av", reason="the extra codecs")


def opened(url: str, **extra: object) -> NetStream:
    """Once its server serves it."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        stream = NetStream(url, retry=(0.05, 0.2), **extra)  # type: ignore[arg-type]
        try:
            stream.start()
            return stream
        except SourceError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def tone_of(line: Line, seconds: float = 1.0) -> float:
    """The frequency of the newest samples, in Hz, once there are so many."""
    bank, row = line.bank, np.array([line.row])
    n = round(seconds * bank.rate)

    def newest() -> np.ndarray:
        return bank.read(row, bank.written[row] - n, n)[0]

    until(lambda: bank.written[row[0]] >= 2 * n and not np.isnan(newest()).any(), f"{seconds:g} s of sound")
    return float(np.argmax(np.abs(np.fft.rfft(newest())))) / seconds


def check_outage(stream: NetStream, line: Line) -> None:
    until(lambda: line.state in ("lost", "reconnecting"), "the loss")
    until(lambda: line.state == "live", "the return")
    assert line.bank.skipped[line.row] > 0
    assert stream.counters()["reconnected"] == 1
    assert not stream.done


@pytest.mark.skipif(not has_rtsp(), reason="apt install python3-gi gir1.2-gst-rtsp-server-1.0")
def test_rtsp_that_goes_away_and_comes_back() -> None:
    port = free_port()
    with rtsp(port) as url:
        stream = opened(url.replace("rtsp://", "rtsp://user:secret@"), patience=1.0)
        (line,) = stream.streams()
        assert line.bank.rate == 8000
        assert tone_of(line) == 440
        assert "secret" not in f"{line.description}{line.labels}{line.name}"
    with rtsp(port):
        check_outage(stream, line)
        assert tone_of(line) == 440
        stream.close()
    assert stream.done


@pytest.mark.skipif(not has_icecast(), reason="apt install icecast2 ffmpeg")
def test_icecast_that_goes_away_and_comes_back() -> None:
    port = free_port()
    with icecast(port) as url:
        stream = opened(url.replace("http://", "icecast://"), patience=1.0)
        (line,) = stream.streams()
        assert line.bank.rate == 44100
        assert tone_of(line) == 440
    with icecast(port):
        check_outage(stream, line)
        stream.close()


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="apt install ffmpeg")
def test_hls_comes_in_bursts_and_is_let_through_at_the_pace_of_the_clock(tmp_path: Path) -> None:
    with segments(tmp_path, live=True), web(tmp_path) as address:
        stream = opened(f"{address}/talk.m3u8?token=secret")
        began = time.monotonic()
        (line,) = stream.streams()
        assert tone_of(line) == 440
        assert line.bank.rate == 16000
        assert line.bank.written[line.row] / 16000 <= 1.02 * (time.monotonic() - began) + 0.5
        assert "secret" not in f"{line.description}{line.labels}{line.name}"
        stream.close()


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="apt install ffmpeg")
def test_what_has_an_end_ends(tmp_path: Path) -> None:
    with segments(tmp_path, live=False), web(tmp_path) as address:
        stream = opened(f"{address}/talk.m3u8")
        (line,) = stream.streams()
        until(lambda: stream.done, "the end")
        assert line.state == "ended"
        assert line.bank.written[line.row] / 16000 == pytest.approx(3, abs=0.2)
        assert stream.failure is None


def test_a_playlist_leads_to_no_file_of_this_machine(tmp_path: Path) -> None:
    secret = tmp_path / "elsewhere"
    secret.mkdir()
    with segments(secret, live=False):
        segment = next(secret.glob("*.ts"))
    served = tmp_path / "served"
    served.mkdir()
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:2", "#EXTINF:1,", f"file://{segment}", "#EXT-X-ENDLIST", ""]
    (served / "talk.m3u8").write_text("\n".join(lines), encoding="utf-8")
    with web(served) as address, pytest.raises(SourceError):
        NetStream(f"{address}/talk.m3u8").start()


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "talk.wav", "http://", "rtsp:/x", "concat:a|b", "http://[", "-"]
)
def test_no_addresses(url: str) -> None:
    with pytest.raises(ConfigError, match="--url"):
        NetStream(url)


def test_an_address_at_which_nobody_is() -> None:
    port = free_port()
    with pytest.raises(SourceError, match=rf"cannot open http://127.0.0.1:{port}/talk: .*refused") as error:
        NetStream(f"http://user:secret@127.0.0.1:{port}/talk?token=secret").start()
    assert "secret" not in str(error.value)


def test_a_page_is_no_sound(tmp_path: Path) -> None:
    (tmp_path / "talk").write_text("<html>" * 100, encoding="utf-8")
    with web(tmp_path) as address, pytest.raises(SourceError):
        NetStream(f"{address}/talk").start()


def test_file_given_an_address_says_so() -> None:
    done = here("listen", "--file", "http://127.0.0.1/talk.mp3")
    assert done.returncode == 2
    assert b"http://127.0.0.1/talk.mp3 is an address: give it with --url" in done.stderr


def test_classify_given_an_address_says_what_can_be_done() -> None:
    done = here("classify", "https://127.0.0.1/talk.mp3")
    assert done.returncode == 1
    assert b"https://127.0.0.1/talk.mp3 is an address" in done.stderr
    assert b"listen --url" in done.stderr
