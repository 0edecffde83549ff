"""What the commands of the service say and do, in a machine's image and with a manager played by a script."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from streamcab.cli.service import service as group
from streamcab.ops import service as s


def test_what_the_sandbox_hides_or_the_mode_closes_is_found_before_systemd_does(tmp_path, monkeypatch):
    assert s.unreachable([Path("/usr/bin/env")]) is None
    assert "hidden" in s.unreachable([Path("/root/streamcab/bin/streamcab")])
    program = tmp_path / "bin" / "streamcab"
    program.parent.mkdir(mode=0o700)
    program.touch(mode=0o755)
    monkeypatch.setattr(s, "UNSEEN", ())
    assert "bin is closed to other users (mode 0700)" in s.unreachable([program])


SHOWN = "\n".join(
    (
        "ActiveState=active",
        "SubState=running",
        "UnitFileState=enabled",
        "StatusText=1 stream",
        "Result=success",
        "NRestarts=0",
    )
)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (
            SHOWN,
            "active (running), enabled: 1 stream",
        ),
        (
            "ActiveState=failed\nSubState=failed\nUnitFileState=\nStatusText=\nResult=watchdog\nNRestarts=3",
            "failed (failed), disabled, last result: watchdog, restarts: 3",
        ),
    ],
)
def test_what_systemd_says_in_words(shown, text):
    assert s.in_words(dict(line.split("=", 1) for line in shown.splitlines())) == text


def run(*words, env=None):
    return CliRunner().invoke(group, [str(w) for w in words], env=env)


@pytest.fixture
def image(tmp_path):
    return tmp_path / "image"


def test_a_life_in_an_image(image):
    unit, env = image / "etc/systemd/system/streamcab@.service", image / "etc/streamcab/mic.env"
    dry = run("install", "--root", image, "--dry-run")
    assert dry.output == f"would put {unit}\nwould put {env}\n"
    assert not image.exists()
    assert run("status", "--root", image).exit_code == 1

    assert run("install", "--root", image).output == f"put {unit}\nput {env}\n"
    start = next(
        line for line in unit.read_text(encoding="utf-8").splitlines() if line.startswith("ExecStart=")
    )
    assert start == f"ExecStart={' '.join(s.program())} listen --no-view"
    assert Path(s.program()[0]).parent == Path(sys.executable).parent
    assert run("install", "--root", image).output == f"up to date {unit}\nup to date {env}\n"

    env.write_text(env.read_text(encoding="utf-8") + "STREAMCAB_GATE=off\n")
    status = run("status", "--root", image)
    assert status.exit_code == 0
    assert f"unit      {unit}: as installed\n" in status.output
    assert f"program   {s.program()[0]}\n" in status.output
    assert f"settings  {env}: edited\n" in status.output

    again = run("install", "--root", image, "--instance", "calls")
    assert "put " + str(env.with_name("calls.env")) in again.output
    one = run("uninstall", "--root", image, "--instance", "calls")
    assert "there are other instances: mic" in one.output
    assert unit.exists()

    assert run("install", "--root", image).output == f"up to date {unit}\nkept {env} (your settings)\n"
    assert run("install", "--root", image, "--force").exit_code == 0
    assert env.with_name("mic.env.old").read_text(encoding="utf-8").endswith("STREAMCAB_GATE=off\n")

    gone = run("uninstall", "--root", image)
    assert gone.output == f"removed {env}\nremoved {unit}\n"
    assert [p.name for p in image.rglob("*") if p.is_file()] == ["mic.env.old"]
    assert run("uninstall", "--root", image).output == "nothing to remove\n"


def test_an_image_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "etc").write_text("a file")
    done = run("install", "--root", tmp_path)
    assert done.exit_code == 1
    assert done.output.startswith("Error: cannot ")
    assert done.output.count("\n") == 1


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_the_machine_is_for_root(command, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    done = run(command)
    assert done.exit_code == 1
    assert done.output.count("\n") == 1
    assert "--user" in done.output


def test_an_installation_that_the_service_cannot_reach_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(s, "program", lambda: ["/home/ann/streamcab/bin/streamcab"])
    done = run("install", "--dry-run")
    assert done.exit_code == 1
    assert "hidden from system services" in done.output
    assert done.output.count("\n") == 1


SYSTEMCTL = """#!/bin/sh
echo "$*" >> "$ASKED"
case "$*" in
  *list-units*) echo "streamcab@calls.service loaded active running x" ;;
  *show*) echo "$SHOWN" ;;
  *restart*) [ -z "$BROKEN" ] || { echo "Job for streamcab@mic.service failed." >&2; exit 1; } ;;
esac
"""


@pytest.fixture
def desktop(tmp_path, monkeypatch):
    """A user with a manager of services, played by a script that writes down what it is asked."""
    tool = tmp_path / "bin" / "systemctl"
    tool.parent.mkdir()
    tool.write_text(SYSTEMCTL)
    tool.chmod(0o755)
    (tmp_path / "run/systemd").mkdir(parents=True)
    (tmp_path / "run/systemd/private").touch()
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("SHOWN", SHOWN)
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    (tmp_path / "asked").touch()

    def asked():
        lines = (tmp_path / "asked").read_text(encoding="utf-8").splitlines()
        (tmp_path / "asked").write_text("")
        return lines

    return asked


def test_a_user_installs_starts_asks_and_uninstalls(desktop, tmp_path):
    first = run("install", "--user")
    assert first.output.splitlines()[-1].endswith("then: systemctl --user enable --now streamcab@mic")
    assert desktop() == ["--user daemon-reload"]
    assert (
        run("install", "--user", "--now").output.splitlines()[-1]
        == "started streamcab@mic, and at every login"
    )
    assert desktop() == ["--user enable streamcab@mic", "--user restart streamcab@mic"]
    status = run("status", "--user").output.splitlines()
    assert status[-2:] == [f"{name:9s} active (running), enabled: 1 stream" for name in ("calls", "mic")]
    desktop()
    assert run("uninstall", "--user", "--dry-run").output.startswith("would stop streamcab@*\n")
    assert desktop() == []
    assert run("uninstall", "--user").exit_code == 0
    assert desktop() == [
        "--user stop streamcab@*.service",
        "--user disable streamcab@.service",
        "--user daemon-reload",
    ]
    assert not [p for p in (tmp_path / "config").rglob("*") if p.is_file()]


def test_a_service_that_does_not_start_is_one_line(desktop, monkeypatch):
    monkeypatch.setenv("BROKEN", "1")
    done = run("install", "--user", "--now")
    assert done.exit_code == 1
    assert done.output.splitlines()[-1] == (
        "Error: systemctl --user restart streamcab@mic: Job for streamcab@mic.service failed."
    )


def test_now_wants_a_systemd_that_runs(image, tmp_path):
    for words in (["--root", image], ["--user"]):
        done = run(
            "install",
            "--now",
            *words,
            env={"XDG_RUNTIME_DIR": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)},
        )
        assert done.exit_code == 1
        assert "systemd does not run here" in done.output
    assert not image.exists()
