"""A real rtpengine in userspace relays a call, and copies of it reach the RTP source: a stream of each party."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from patience import until
from ports import free_port

from streamcab.rtp.codec import TABLES
from streamcab.source import Line
from streamcab.source.rtp import RtpSource

pytestmark = pytest.mark.skipif(shutil.which("rtpengine") is None, reason="apt install rtpengine-daemon")
FRAMES = 60


def encoded(value: Any) -> bytes:
    """Bencode, the form of rtpengine's ng protocol."""
    if isinstance(value, dict):
        return b"d" + b"".join(encoded(k) + encoded(v) for k, v in sorted(value.items())) + b"e"
    if isinstance(value, list):
        return b"l" + b"".join(map(encoded, value)) + b"e"
    data = value if isinstance(value, bytes) else value.encode()
    return b"%d:%s" % (len(data), data)


def decoded(data: bytes, at: int = 0) -> tuple[Any, int]:
    """A value, and where the next one begins."""
    kind = data[at : at + 1]
    if kind == b"i":
        end = data.index(b"e", at)
        return int(data[at + 1 : end]), end + 1
    if kind in b"dl":
        at, found = at + 1, []
        while data[at : at + 1] != b"e":
            value, at = decoded(data, at)
            found.append(value)
        return (dict(zip(found[::2], found[1::2], strict=True)) if kind == b"d" else found), at + 1
    colon = data.index(b":", at)
    end = colon + 1 + int(data[at:colon])
    return data[colon + 1 : end], end


def udp() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


class Rtpengine:
    """The daemon, spoken to by its ng protocol."""

    def __init__(self, control: socket.socket) -> None:
        self._control, self._asked = control, 0

    def ask(self, command: str, **fields: Any) -> dict[bytes, bytes]:
        """The answer, once the daemon gives one: it may still be starting."""
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        self._asked += 1
        answers: list[dict[bytes, bytes]] = []

        def answered() -> bool:
            try:
                self._control.send(b"%d " % self._asked + encoded({"command": command, **named}))
                answers.append(decoded(self._control.recv(65_535).partition(b" ")[2])[0])
            except OSError:
                return False
            return True

        until(answered)
        assert answers[0][b"result"] in (b"ok", b"pong"), answers
        return answers[0]


@contextmanager
def rtpengine(folder: Path) -> Iterator[Rtpengine]:
    port, media = free_port(), free_port(8)
    words = ["--config-file=none", "--table=-1", "--interface=127.0.0.1", f"--listen-ng=127.0.0.1:{port}"]
    words += [f"--port-min={media}", f"--port-max={media + 7}"]
    words += ["--foreground", "--log-stderr", "--num-threads=1"]
    with (folder / "rtpengine.log").open("w", encoding="utf-8") as log, udp() as control:
        control.settimeout(0.5)
        control.connect(("127.0.0.1", port))
        process = subprocess.Popen(["rtpengine", *words], stderr=log)
        try:
            yield Rtpengine(control)
        finally:
            process.terminate()
            process.wait()


def sdp(*ports: int, direction: str = "sendrecv") -> str:
    media = "".join(f"m=audio {p} RTP/AVP 0\r\nc=IN IP4 127.0.0.1\r\na={direction}\r\n" for p in ports)
    return f"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n{media}"


def ports_of(answer: dict[bytes, bytes]) -> list[int]:
    return [int(part.split()[0]) for part in answer[b"sdp"].split(b"m=audio ")[1:]]


def packet(number: int, ssrc: int) -> bytes:
    head = (
        b"\x80\x00" + number.to_bytes(2, "big") + (160 * number).to_bytes(4, "big") + ssrc.to_bytes(4, "big")
    )
    return head + bytes([ssrc]) * 160


def test_rtpengine_sends_a_copy_of_each_party(tmp_path: Path) -> None:
    with ExitStack() as stack:
        engine = stack.enter_context(rtpengine(tmp_path))
        engine.ask("ping")
        caller, callee = stack.enter_context(udp()), stack.enter_context(udp())
        of = {"call_id": "c1", "from_tag": "ft"}
        (for_callee,) = ports_of(engine.ask("offer", sdp=sdp(caller.getsockname()[1]), **of))
        (for_caller,) = ports_of(engine.ask("answer", to_tag="tt", sdp=sdp(callee.getsockname()[1]), **of))
        source = RtpSource(["127.0.0.1:0"], max_streams=4)
        source.start()
        stack.callback(source.close)
        ours = int(source.addresses[0].rpartition(":")[2])
        copies = engine.ask("subscribe request", call_id="c1", flags=["all"])
        answer = sdp(*(ours for _ in ports_of(copies)), direction="recvonly")
        engine.ask("subscribe answer", call_id="c1", to_tag=copies[b"to-tag"], sdp=answer)
        lines: list[Line] = []
        for number in range(FRAMES):
            caller.sendto(packet(number, 0x21), ("127.0.0.1", for_caller))
            callee.sendto(packet(number, 0x22), ("127.0.0.1", for_callee))
            # rtpengine drops what comes at once.
            until(lambda n=number: source.counters()["received"] >= 2 * (n + 1))
            lines += source.streams()
        lines.sort(key=lambda line: line.labels["ssrc"])
        assert [line.labels["ssrc"] for line in lines] == ["00000021", "00000022"]
        for line, code in zip(lines, (0x21, 0x22), strict=True):
            n = 160 * FRAMES // 2
            until(lambda line=line, n=n: line.bank.written[line.row] >= n)
            heard = line.bank.read(np.array([line.row]), np.array([0]), n)[0]
            assert (heard * 32768 == TABLES["PCMU"][code]).all()
