"""sipp: many calls set up by SIP, all of them from one source port into one of ours, told apart by SSRC."""

import shutil
import socket
import subprocess
import threading

import numpy as np
import pytest
from patience import until
from rtp_peer import heard, listening

from streamcab.rtp.codec import TABLES

CALLS = 300
SCENARIO = """<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="caller with RTP">
  <send retrans="500"><![CDATA[

INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: sipp <sip:sipp@[local_ip]:[local_port]>;tag=[pid]SIPpTag00[call_number]
To: sut <sip:[service]@[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: sip:sipp@[local_ip]:[local_port]
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: [len]

v=0
o=user1 53655765 2353687637 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [rtpstream_audio_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000

  ]]></send>
  <recv response="200" rtd="true"></recv>
  <send><![CDATA[

ACK sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: sipp <sip:sipp@[local_ip]:[local_port]>;tag=[pid]SIPpTag00[call_number]
To: sut <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0

  ]]></send>
  <nop><action><exec rtp_stream="{file},1,0"/></action></nop>
  <pause milliseconds="2500"/>
  <send retrans="500"><![CDATA[

BYE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: sipp <sip:sipp@[local_ip]:[local_port]>;tag=[pid]SIPpTag00[call_number]
To: sut <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 2 BYE
Max-Forwards: 70
Content-Length: 0

  ]]></send>
  <recv response="200"></recv>
</scenario>
"""


class Answerer(threading.Thread):
    """Answers every INVITE with our RTP port, and every BYE: as much of SIP as a caller needs."""

    def __init__(self, rtp_port):
        super().__init__(daemon=True)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.sdp = (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=audio {rtp_port} RTP/AVP 0\r\na=recvonly\r\n"
        )

    def run(self):
        while True:
            request, caller = self.sock.recvfrom(65536)
            if not request:
                return
            lines = request.decode().split("\r\n")
            method = lines[0].split()[0]
            if method not in ("INVITE", "BYE"):
                continue
            keep = [x for x in lines if x.startswith(("Via:", "From:", "Call-ID:", "CSeq:"))]
            to = next(x for x in lines if x.startswith("To:"))
            body = self.sdp if method == "INVITE" else ""
            head = ["SIP/2.0 200 OK", *keep, to + (";tag=us" if ";tag=" not in to else "")]
            head += [f"Contact: <sip:127.0.0.1:{self.port}>", f"Content-Length: {len(body)}"]
            head += ["Content-Type: application/sdp"] if body else []
            self.sock.sendto(("\r\n".join(head) + "\r\n\r\n" + body).encode(), caller)

    def close(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", ("127.0.0.1", self.port))
        self.join()
        self.sock.close()


@pytest.mark.slow
def test_three_hundred_calls_from_one_port(tmp_path):
    if shutil.which("sipp") is None:
        pytest.skip("no sipp here")
    codes = np.random.default_rng(0).integers(0, 256, 100 * 160, np.uint8)
    (tmp_path / "clip.ulaw").write_bytes(codes.tobytes())
    (tmp_path / "caller.xml").write_text(
        SCENARIO.replace("{file}", str(tmp_path / "clip.ulaw")), encoding="utf-8"
    )
    with listening(max_streams=CALLS, idle_s=60.0) as listener:
        answerer = Answerer(listener.port)
        answerer.start()
        command = ["sipp", "-sf", "caller.xml", "-i", "127.0.0.1", "-mi", "127.0.0.1", "-m", str(CALLS)]
        command += ["-r", "150", "-l", str(CALLS), "-nostdin", f"127.0.0.1:{answerer.port}"]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env={"TERM": "dumb", "PATH": "/usr/bin:/bin:/usr/local/bin"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        lines = listener.calls(CALLS)
        answerer.close()
        assert len({line.labels["source"] for line in lines}) <= 4
        assert len({line.name for line in lines}) == CALLS
        want = TABLES["PCMU"][codes] / np.float32(32768)
        until(lambda: all(line.bank.written[line.row] >= 99 * 160 for line in lines), "the last samples")
        for line in lines:
            got = heard(line.bank, line.row)
            np.testing.assert_array_equal(got, want[: len(got)])
            assert line.bank.skipped[line.row] == 0
        counts = listener.source.counters()
        assert counts["lost_packets"] == counts["refused_full"] == counts["late"] == 0
