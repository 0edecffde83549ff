"""Where the files of the service go, and what is put, kept and taken away: planned over texts."""

from pathlib import Path

import pytest

from streamcab.ops import systemd_unit as u

UNIT = "[Service]\nExecStart=streamcab listen --no-view\n"
SETTINGS = "STREAMCAB_DEVICE=0\n"
PLACE = u.system_place()
ENV = PLACE.settings_of("mic")


def install(found, force=False, unit=UNIT):
    return u.plan_install(PLACE, unit, SETTINGS, "mic", found.get, force)


def verbs(steps):
    return [(step.verb, step.path) for step in steps]


def test_an_empty_machine_gets_unit_and_settings():
    assert verbs(install({})) == [("put", PLACE.unit), ("put", ENV)]
    assert str(PLACE.unit) == "/etc/systemd/system/streamcab@.service"
    assert str(ENV) == "/etc/streamcab/mic.env"


def test_a_second_time_changes_nothing():
    found = {step.path: step.text for step in install({})}
    assert verbs(install(found)) == [("same", PLACE.unit), ("same", ENV)]


def test_an_upgrade_replaces_what_nobody_has_edited():
    found = {step.path: step.text for step in install({})}
    newer = install(found, unit=UNIT + "Nice=-5\n")
    assert verbs(newer) == [("put", PLACE.unit), ("same", ENV)]
    assert newer[0].old is None


@pytest.mark.parametrize("there", [u.sealed(UNIT) + "# mine\n", "[Service]\n", ""])
def test_what_somebody_has_edited_or_made_is_kept_unless_forced(there):
    found = {PLACE.unit: there, ENV: there}
    assert verbs(install(found)) == [("keep", PLACE.unit), ("keep", ENV)]
    forced = install(found, force=True)
    assert verbs(forced) == [("put", PLACE.unit), ("put", ENV)]
    assert [step.old for step in forced] == [there, there]


def test_uninstall_removes_what_is_ours():
    found = {step.path: step.text for step in install({})}
    assert verbs(u.plan_uninstall(PLACE, {ENV}, True, found.get, False)) == [
        ("remove", ENV),
        ("remove", PLACE.unit),
    ]
    assert u.plan_uninstall(PLACE, {ENV}, True, {}.get, True) == []


def test_uninstall_keeps_edited_files_unless_forced_and_foreign_ones_always():
    found = {PLACE.unit: "[Service]\n", ENV: u.sealed(SETTINGS) + "STREAMCAB_GATE=off\n"}
    kept = u.plan_uninstall(PLACE, {ENV}, True, found.get, False)
    assert verbs(kept) == [("keep", ENV), ("keep", PLACE.unit)]
    forced = u.plan_uninstall(PLACE, {ENV}, True, found.get, True)
    assert verbs(forced) == [("remove", ENV), ("keep", PLACE.unit)]


@pytest.mark.parametrize(
    ("program", "line"),
    [
        (["/opt/streamcab/bin/streamcab"], "/opt/streamcab/bin/streamcab listen --no-view"),
        (["/opt/py", "-m", "streamcab"], "/opt/py -m streamcab listen --no-view"),
        (["/opt/my apps/100%/streamcab"], '"/opt/my apps/100%%/streamcab" listen --no-view'),
    ],
)
def test_the_unit_starts_this_installation(program, line):
    assert u.unit_text(UNIT, program) == f"[Service]\nExecStart={line}\n"


@pytest.mark.parametrize("path", ["/opt/$HOME/x", "/opt/a\nb", '/opt/"x', "/opt/a\\b"])
def test_a_path_that_no_unit_can_spell_is_refused(path):
    with pytest.raises(u.ServiceError, match="plainer"):
        u.unit_text(UNIT, [path])


@pytest.mark.parametrize("name", ["", "../mic", "a/b", "a b", "-x", "%i", "x" * 65])
def test_an_instance_is_called_by_a_plain_name(name):
    with pytest.raises(u.ServiceError, match="instance"):
        u.check_instance(name)


def test_a_user_has_the_files_at_home():
    place = u.user_place(Path("/home/ann"), {})
    assert str(place.unit) == "/home/ann/.config/systemd/user/streamcab@.service"
    assert str(place.settings_of("mic")) == "/home/ann/.config/streamcab/mic.env"
    assert u.user_place(Path("/home/ann"), {"XDG_CONFIG_HOME": "/x"}).units == Path("/x/systemd/user")
