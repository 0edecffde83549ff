"""The files of containers/: well-formed, hardened, and with commands and queries that exist."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from postgres import cluster

from streamcab.cli import main
from streamcab.store.database import connect, migrate, url_of

FOLDER = Path(__file__).parent.parent / "containers"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
POD = yaml.safe_load((FOLDER / "kubernetes.yaml").read_text(encoding="utf-8"))["spec"]["template"]["spec"]
CONTAINERFILE = (FOLDER / "Containerfile").read_text(encoding="utf-8")


def commands() -> Iterator[list[str]]:
    """Every command line of streamcab in these files."""
    yield json.loads(re.search(r"^CMD (\[.*\])$", CONTAINERFILE, re.M)[1])
    yield re.search(r"CMD streamcab (.*?) >", CONTAINERFILE)[1].split()
    for service in COMPOSE["services"].values():
        if service["image"] == "streamcab":
            yield service["command"]
    for container in POD["containers"]:
        yield container["args"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            words = " ".join(container.get(probe, {}).get("exec", {}).get("command", []))
            found = re.search(r"streamcab ([^>]*)", words)
            if found:
                yield found[1].split()


@pytest.mark.parametrize("words", [*commands()], ids=" ".join)
def test_each_command_and_option_exists(words: list[str]) -> None:
    command = main.get_command(click.Context(main), words[0])
    assert command is not None
    known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= known


def test_nothing_runs_as_root_or_writes_to_its_root() -> None:
    assert re.search(r"^USER 10001:10001$", CONTAINERFILE, re.M)
    for service in COMPOSE["services"].values():
        if service["image"] == "streamcab":
            assert service["read_only"]
            assert service["cap_drop"] == ["ALL"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert POD["securityContext"]["runAsNonRoot"]
    for container in POD["containers"]:
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_pseudonyms_have_a_salt_that_outlives_the_container() -> None:
    salts = [words[words.index("--hash-salt") + 1] for words in commands() if "--hash-names" in words]
    assert salts == ["/run/secrets/salt", "/etc/streamcab/salt"]
    assert "salt" in COMPOSE["services"]["streamcab"]["secrets"]
    mounts = {one["mountPath"]: one["name"] for one in POD["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in POD["volumes"]}
    assert volumes[mounts["/etc/streamcab"]]["secret"]["items"] == [{"key": "salt", "path": "salt"}]


def test_no_password_stands_in_the_files() -> None:
    for service in COMPOSE["services"].values():
        secret = {name for name in service.get("environment", {}) if "PASSWORD" in name}
        assert all(name.endswith("_FILE") for name in secret)


def test_the_dashboards_queries_run_on_the_stores_tables() -> None:
    dashboard = json.loads((FOLDER / "grafana" / "calls.json").read_text(encoding="utf-8"))
    with cluster() as server:
        engine = connect(url_of(server.url), write=True)
        migrate(engine)
        with engine.connect() as connection:
            for panel in dashboard["panels"]:
                asked = panel["targets"][0]["rawSql"].replace("$__timeFilter(began)", "began < now()")
                assert connection.exec_driver_sql(asked).returns_rows
        engine.dispose()
