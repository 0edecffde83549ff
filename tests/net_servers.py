"""Servers of the net for tests: Icecast, RTSP by GStreamer, HLS by ffmpeg and a web server; on ports of their own."""

import functools
import http.server
import shutil
import socket
import subprocess
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from patience import until

PASSWORD = "hackme-16-letters"
PYTHON = "/usr/bin/python3"
"""Debian's, whose packages hold GStreamer's bindings."""
RTSP = """
import sys, gi
gi.require_version("Gst", "1.0"); gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer, GLib
Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1"); server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory()
tone = "audiotestsrc is-live=true wave=sine freq=440 ! audio/x-raw,rate=8000,channels=1"
factory.set_launch(f"( {tone} ! mulawenc ! rtppcmupay name=pay0 pt=0 )")
factory.set_shared(True)
server.get_mount_points().add_factory("/talk", factory)
server.attach(None)
print("ready", flush=True)
GLib.MainLoop().run()
"""


def await_port(port: int) -> None:
    def served() -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0

    until(served)


@contextmanager
def process(*words: str, **extra: object) -> Iterator[subprocess.Popen[bytes]]:
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = subprocess.Popen(words, **(quiet | extra))  # type: ignore[call-overload]
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def has_rtsp() -> bool:
    code = "import gi; gi.require_version('GstRtspServer', '1.0')"
    return Path(PYTHON).exists() and subprocess.run([PYTHON, "-c", code], capture_output=True).returncode == 0


@contextmanager
def rtsp(port: int) -> Iterator[str]:
    """A tone of 440 Hz in mu-law; its address."""
    with process(PYTHON, "-c", RTSP, str(port)):
        await_port(port)
        yield f"rtsp://127.0.0.1:{port}/talk"


def has_icecast() -> bool:
    return shutil.which("icecast2") is not None and shutil.which("ffmpeg") is not None


def _answers(port: int) -> bool:
    """Return whether Icecast has the tone."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/talk", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def icecast(port: int) -> Iterator[str]:
    """A server with a tone of 440 Hz in Ogg; the tone's address."""
    # Started by root, it becomes nobody, who cannot see the folders of pytest.
    with tempfile.TemporaryDirectory(prefix="icecast") as name:
        folder = Path(name)
        folder.chmod(0o777)
        with _icecast(port, folder) as address:
            yield address


@contextmanager
def _icecast(port: int, folder: Path) -> Iterator[str]:
    config = folder / "icecast.xml"
    config.write_text(
        f"""<icecast><limits><sources>2</sources><source-timeout>2</source-timeout></limits>
<authentication><source-password>{PASSWORD}</source-password><admin-user>a</admin-user>
<admin-password>{PASSWORD}</admin-password></authentication>
<listen-socket><port>{port}</port><bind-address>127.0.0.1</bind-address></listen-socket>
<paths><basedir>{folder}</basedir><logdir>{folder}</logdir><webroot>{folder}</webroot><adminroot>{folder}</adminroot>
</paths><logging><accesslog>a.log</accesslog><errorlog>e.log</errorlog><loglevel>1</loglevel></logging>
<security><chroot>0</chroot><changeowner><user>nobody</user><group>nogroup</group></changeowner></security></icecast>""",
        encoding="utf-8",
    )
    with ExitStack() as stack:
        stack.enter_context(process("icecast2", "-c", str(config)))
        await_port(port)
        words = (
            *("ffmpeg", "-v", "error", "-re", "-f", "lavfi", "-i", "sine=440:sample_rate=44100"),
            *("-c:a", "libvorbis", "-f", "ogg", "-content_type", "application/ogg"),
            f"icecast://source:{PASSWORD}@127.0.0.1:{port}/talk",
        )
        mounted = False
        while not mounted:  # a source that was turned away does not try again by itself
            source = stack.enter_context(process(*words))
            until(lambda: source.poll() is not None or _answers(port), "the tone")  # noqa: B023 - called at once
            mounted = source.poll() is None
        yield f"http://127.0.0.1:{port}/talk"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def web(folder: Path, port: int = 0) -> Iterator[str]:
    """A folder over HTTP; its address."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def segments(folder: Path, *, live: bool) -> Iterator[Path]:
    """A playlist of HLS with segments of a second: of a tone that goes on, or of one of 3 s."""
    length = [] if live else ["-t", "3"]
    listed = ["-hls_list_size", "4", "-hls_flags", "delete_segments"] if live else ["-hls_list_size", "0"]
    words = ["ffmpeg", "-v", "error", *(["-re"] if live else []), "-f", "lavfi", *length]
    words += ["-i", "sine=440:sample_rate=16000", "-c:a", "aac", "-f", "hls", "-hls_time", "1", *listed]
    playlist = folder / "talk.m3u8"
    with process(*words, str(playlist)) as running:
        until(lambda: playlist.exists() and (live or running.poll() is not None))
        yield playlist
