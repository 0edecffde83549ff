"""The units of systemd/ as systemd sees them: read, scored, and one real boot of the hardened one."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from serving import save_model
from signals import write_wav
from speech import SMALL_STAGES, talk, tiny_model

from streamcab.cli import main
from streamcab.config.layers import check_environment
from streamcab.daemon.loop import STATUS_S
from streamcab.nn.checkpoint import Checkpoint
from streamcab.ops.service import SETTINGS, SOURCES, template
from streamcab.ops.systemd_unit import UNIT, unit_text

ROOT = Path(__file__).parents[1]

analysed = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="no systemd-analyze: apt install systemd"
)
both = pytest.mark.parametrize("user", [False, True], ids=["system", "user"])


def analyze(*words):
    return subprocess.run(["systemd-analyze", *map(str, words)], capture_output=True, text=True)


@pytest.fixture
def units(tmp_path):
    """Puts a unit, its program substituted, where systemd finds the template of an instance."""

    def put(user, more=""):
        (tmp_path / UNIT).write_text(unit_text(template(SOURCES[user]), ["/bin/true"]) + more)
        return tmp_path

    return put


@analysed
@both
def test_the_unit_is_understood(units, user):
    done = analyze("verify", "--recursive-errors=no", units(user) / "streamcab@mic.service")
    assert (done.returncode, done.stderr) == (0, "")


@analysed
def test_a_word_that_systemd_does_not_know_would_be_found(units):
    done = analyze(
        "verify", "--recursive-errors=no", units(False, "Frobnicate=1\n") / "streamcab@mic.service"
    )
    assert done.returncode == 1
    assert "Frobnicate" in done.stderr


@analysed
def test_the_system_unit_is_exposed_by_two_at_most(units):
    done = analyze("security", "--offline=yes", "--threshold=20", "--no-pager", units(False) / UNIT)
    assert done.returncode == 0, done.stdout[-300:]


@both
def test_the_watchdog_waits_for_more_than_one_ping(user):
    (seconds,) = re.findall(r"^WatchdogSec=(\d+)s$", template(SOURCES[user]), re.MULTILINE)
    assert int(seconds) >= 3 * STATUS_S


def test_every_setting_of_the_example_exists():
    text = template(SETTINGS)
    environment = dict(re.findall(r"^(?:# )?(STREAMCAB_[A-Z_]+)=(.*)$", text, re.MULTILINE))
    known = {o.lstrip("-").replace("-", "_") for p in main.commands["listen"].params for o in p.opts}
    assert len(environment) > 3
    check_environment(environment, known)


TOOLS = ["mount", "umount", "systemd-nspawn", "dbus-daemon", "journalctl"]
NSPAWN = ["systemd-nspawn", "-q", "--keep-unit", "--register=no", "--private-network"]
OPT = Path("/opt/streamcab")

CHECK = """\
[Unit]
Description=What a test wants to know
After=basic.target dbus.service
Requires=dbus.service
[Service]
Type=oneshot
ExecStart=/bin/bash /check/check.sh
ExecStopPost=systemctl --no-block --force poweroff
StandardOutput=file:/check/said
StandardError=file:/check/said
TimeoutStartSec=240
"""

SETTINGS_OF_MIC = f"""\
STREAMCAB_DEVICE=
STREAMCAB_FILE={OPT}/talk.wav
STREAMCAB_LOOP=1
STREAMCAB_MODEL={OPT}/model.safetensors
STREAMCAB_LOG_LEVEL=info
"""

# Another program has the port as soon as it is free, and keeps it.
TAKE = """\
import socket, time
sock = socket.socket()
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
while True:
    try:
        sock.bind(('127.0.0.1', 5557))
        sock.listen()
        break
    except OSError:
        time.sleep(0.01)
time.sleep(1000)
"""

SCRIPT = f"""\
TAKE="{TAKE}"
show() {{ systemctl show streamcab@mic --value -p "$1"; }}
until_shown() {{ until [[ "$(show "$1")" == $2 ]]; do sleep 0.2; done; }}
say() {{ echo "$1: $2"; }}
cd /
systemctl --version | head -1
{OPT}/bin/streamcab service install --instance mic
cat /check/mic.env >> /etc/streamcab/mic.env
mkdir -p /run/systemd/system/streamcab@mic.service.d
printf '[Service]\\nWatchdogSec=4s\\n' > /run/systemd/system/streamcab@mic.service.d/quick.conf
{OPT}/bin/streamcab service install --instance mic --now; say started $?
say state "$(show ActiveState) $(show SubState) $(show UnitFileState)"
say status "$(show StatusText)"
pid=$(show MainPID)
say user "$(ps -o user= -p $pid)"
say sandbox "$(grep -E '^(NoNewPrivs|Seccomp|CapBnd)' /proc/$pid/status | tr -s '\\t\\n' ' ')"
say directory "$(stat -c '%a' /run/streamcab/mic)"
say feed "$({OPT}/bin/streamcab watch --json | head -1 | cut -c1-200)"
systemctl reload streamcab@mic; say reload $?
until journalctl -u streamcab@mic | grep -q SIGHUP; do sleep 0.2; done
until_shown ActiveState active
say hangup "$(show ActiveState) $(show MainPID)"
say before "active $pid"
{OPT}/bin/streamcab service status

kill -STOP $pid
until_shown NRestarts 1
until_shown ActiveState active
say restarts "$(show NRestarts)"
[ "$(show MainPID)" != $pid ] && say process new
say again "$(show StatusText)"
{OPT}/bin/streamcab service status

kill -9 "$(show MainPID)"
until_shown NRestarts 2
until_shown ActiveState active
say killed "$(show NRestarts)"

{OPT}/bin/python -c "$TAKE" & taker=$!
kill -9 "$(show MainPID)"
refused() {{ journalctl -u streamcab@mic -o cat | grep -c 'tcp://127.0.0.1:5557 is taken'; }}
until [ "$(refused)" -ge 2 ]; do sleep 0.2; done
kill $taker
until_shown ActiveState active
say taken "$(show ActiveState) after $(show NRestarts) restarts, $(refused) of them refused"

began=$(date +%s%N)
systemctl stop streamcab@mic
say stopped "$(show ActiveState) $(show Result) exit $(show ExecMainStatus)"
say took "$(( ($(date +%s%N) - began) / 1000000 )) ms"
[ -e /run/streamcab/mic ] || say runtime gone

echo STREAMCAB_WINDWO=3 >> /etc/streamcab/mic.env
systemctl start streamcab@mic
say misspelt "$(show ActiveState) $(show ExecMainStatus) restarts $(show NRestarts)"
{OPT}/bin/streamcab service uninstall; say uninstalled $?
ls /etc/systemd/system/streamcab* /etc/systemd/system/*.wants/streamcab* 2>/dev/null
ls /etc/streamcab

useradd --create-home ann
systemctl start user@$(id -u ann)
run=/run/user/$(id -u ann)
ann() {{ runuser -u ann -- env HOME=/home/ann XDG_RUNTIME_DIR=$run "$@"; }}
ann {OPT}/bin/streamcab service install --user
cat /check/mic.env >> /home/ann/.config/streamcab/mic.env
echo STREAMCAB_ENDPOINT=ipc://$run/streamcab/mic/feed.ipc >> /home/ann/.config/streamcab/mic.env
ann {OPT}/bin/streamcab service install --user --now; say desktop $?
ann {OPT}/bin/streamcab service status --user | tee /check/desktop
ann {OPT}/bin/streamcab watch ipc://$run/streamcab/mic/feed.ipc --json | head -1 > /check/desktop-feed
ann {OPT}/bin/streamcab service uninstall --user --force; say removed $?
find /home/ann/.config -name 'streamcab*' -o -name '*.env'
journalctl -u streamcab@mic --no-pager -o cat > /check/journal
"""


@pytest.fixture
def machine():
    """This machine's own root under an overlay, with this installation of streamcab in /opt."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)}: apt install systemd-container dbus")
    if os.geteuid() != 0:
        pytest.skip("a boot in a container wants root")
    # Not tmp_path: what lies in /tmp is hidden in the container by a /tmp of its own.
    with tempfile.TemporaryDirectory(prefix="streamcab-boot", dir="/var/tmp") as name:
        here = Path(name)
        here.chmod(0o755)
        for part in ("upper", "work", "root", "check", "opt/bin", "opt/lib", "opt/src"):
            (here / part).mkdir(parents=True)
        layers = f"lowerdir=/,upperdir={here}/upper,workdir={here}/work"
        done = subprocess.run(
            ["mount", "-t", "overlay", "overlay", "-o", layers, here / "root"], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"no overlay here: {done.stderr.strip()}")
        try:
            yield here
        finally:
            subprocess.run(["umount", here / "root"], check=True)


def move_in(here):
    """An installation in /opt, where a system service may look: the same packages, by mounts."""
    (here / "opt/bin/python").symlink_to(f"/opt/python/bin/{Path(sys.executable).resolve().name}")
    script = here / "opt/bin/streamcab"
    script.write_text(
        f"#!{OPT}/bin/python\nimport sys\nsys.path[:0] = ['{OPT}/src', '{OPT}/src/train']\n"
        "from streamcab.cli import main\nmain()\n"
    )
    script.chmod(0o755)
    (here / "opt/pyvenv.cfg").write_text("home = /opt/python/bin\ninclude-system-site-packages = false\n")
    save_model(Checkpoint(tiny_model(3, stages=SMALL_STAGES), {"name": "tiny"}), here / "opt")
    write_wav(here / "opt/talk.wav", talk(5, 16000), 16000)
    (here / "check/check.sh").write_text(SCRIPT)
    (here / "check/mic.env").write_text(SETTINGS_OF_MIC)
    (here / "root/etc/systemd/system/streamcab-check.service").write_text(CHECK)
    for place in ("opt/streamcab", "opt/python", "check"):
        (here / "root" / place).mkdir(parents=True, exist_ok=True)
    return [
        f"--bind={here}/check:/check",
        f"--bind={here}/opt:{OPT}",
        f"--bind-ro={sys.prefix}/lib:{OPT}/lib",
        f"--bind-ro={ROOT}:{OPT}/src",
        f"--bind-ro={sys.base_prefix}:/opt/python",
    ]


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_a_boot_with_a_watchdog_kill_and_a_restart(machine):
    mounts = move_in(machine)
    booted = subprocess.run(
        [*NSPAWN, "-D", machine / "root", *mounts, "--boot", "--", "--unit=streamcab-check.service"],
        capture_output=True,
        timeout=400,
        env=os.environ
        | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "0" if Path("/sys/fs/cgroup/cpu").is_dir() else "1"},
    )
    report = machine / "check/said"
    if not report.exists():
        pytest.skip(f"systemd does not boot here: {booted.stderr.decode()[-300:]}")
    said = report.read_text(encoding="utf-8")
    journal = (
        (machine / "check/journal").read_text(encoding="utf-8")
        if (machine / "check/journal").exists()
        else ""
    )
    sys.stdout.write(f"{said}\n{journal}")  # seen when it fails, or with -s
    facts = dict(line.split(": ", 1) for line in said.splitlines() if ": " in line)
    assert facts["started"] == "0"
    assert facts["state"] == "active running enabled"
    assert facts["status"].startswith("1 stream, ")
    assert facts["user"] == "streamcab"
    assert "CapBnd: 0000000000000000 NoNewPrivs: 1 Seccomp: 2" in facts["sandbox"]
    assert facts["directory"] == "750"
    assert '"stream":"talk"' in facts["feed"]
    assert facts["reload"] == "0"
    assert facts["hangup"] == facts["before"]
    assert "SIGHUP: no reloadable setting has changed" in journal
    assert facts["restarts"] == "1"
    assert facts["process"] == "new"
    assert facts["again"].startswith("1 stream, ")
    assert "Watchdog timeout" in journal
    assert facts["killed"] == "2"
    restarts, refused = map(int, re.findall(r"\d+", facts["taken"]))
    assert facts["taken"].startswith("active after ")
    assert restarts == 2 + refused + 1
    assert facts["stopped"] == "inactive success exit 0"
    assert facts["runtime"] == "gone"
    assert facts["misspelt"] == "failed 2 restarts 0"
    assert "did you mean STREAMCAB_WINDOW?" in journal
    assert facts["uninstalled"] == "0"
    assert re.search(r"^kept /etc/streamcab/mic.env \(edited", said, re.MULTILINE)
    assert facts["desktop"] == facts["removed"] == "0"
    assert "active (running), enabled: 1 stream, " in (machine / "check/desktop").read_text(encoding="utf-8")
    assert '"stream":"talk"' in (machine / "check/desktop-feed").read_text(encoding="utf-8")
