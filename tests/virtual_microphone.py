"""A microphone without hardware: a PulseAudio server of its own, and what can happen to it.

Knows nothing of streamcab or pytest.
"""

import os
import signal
import subprocess
from pathlib import Path

from patience import until

TOOLS = ("pulseaudio", "pactl", "pacat", "paplay")


class VirtualMicrophone:
    """A PulseAudio server of its own with a null sink, whose monitor is the microphone: it hears `play`.

    `env` is what a process needs to see it. A silent player keeps the sink awake and its latency low.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self.env = os.environ | {
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home),
            "PULSE_SERVER": f"unix:{home}/pulse/native",
            "PULSE_SOURCE": "mic.monitor",
        }
        self._server: subprocess.Popen[bytes] | None = None
        self._players: list[subprocess.Popen[bytes]] = []
        self._module = ""

    def start(self, channels: int = 1) -> None:
        """Start the server, and plug the microphone in."""
        protocol = ["-L", "module-native-protocol-unix"]
        self._server = subprocess.Popen(
            ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--log-level=error", *protocol],
            env=self.env,
        )
        until(lambda: self._pactl("info").returncode == 0, what="the PulseAudio server does not answer")
        self.plug(channels)

    def shelve(self, *names: str) -> None:
        """Give it these names beside `pulse`, in this order: each is a device, and moves the numbers of the rest."""
        device = 'pcm.{0} {{ type pulse  device "mic.monitor"  hint {{ show on  description "{0}" }} }}\n'
        (self._home / ".asoundrc").write_text("".join(device.format(name) for name in names))

    def plug(self, channels: int = 1) -> None:
        """The microphone is there."""
        done = self._pactl(
            "load-module", "module-null-sink", "sink_name=mic", "rate=48000", f"channels={channels}"
        )
        assert done.returncode == 0, done.stderr
        self._module = done.stdout.strip()
        self._play("pacat", "--rate=48000", "--channels=1", "/dev/zero")
        until(
            lambda: self._pactl("list", "short", "sink-inputs").stdout, what="the silent player does not play"
        )
        # The sink has rendered two seconds ahead before the player asked for less: it begins anew.
        for state in ("1", "0"):
            assert self._pactl("suspend-sink", "mic", state).returncode == 0

    def unplug(self) -> None:
        """The microphone is gone; the server stays."""
        done = self._pactl("unload-module", self._module)
        assert done.returncode == 0, done.stderr
        self._end_players()

    def play(self, path: Path) -> None:
        """Begin to play a file into the microphone."""
        self._play("paplay", str(path))

    def freeze(self) -> None:
        """The server hangs: it answers nothing, and nobody is told."""
        assert self._server is not None
        self._server.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """The server comes to itself."""
        assert self._server is not None
        self._server.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """The server dies."""
        if self._server is not None:
            self._server.send_signal(signal.SIGKILL)
            self._server.wait()
            self._server = None
        self._end_players()

    def _play(self, tool: str, *arguments: str) -> None:
        command = [tool, "--latency-msec=25", "--device=mic", *arguments]
        self._players.append(subprocess.Popen(command, env=self.env, stderr=subprocess.DEVNULL))

    def _end_players(self) -> None:
        for player in self._players:
            player.kill()
            player.wait()
        self._players.clear()

    def _pactl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["pactl", *arguments], env=self.env, capture_output=True, text=True, timeout=20)
