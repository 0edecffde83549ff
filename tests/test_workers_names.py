"""Names that processes take from each other's reach."""

from streamcab.daemon.streams import OwnNames
from streamcab.workers.names import SharedNames


def test_a_name_has_one_owner_until_it_is_free(tmp_path):
    one, two = SharedNames(tmp_path, 1), SharedNames(tmp_path, 2)
    assert one.take("desk")
    assert not one.take("desk")
    assert not two.take("desk")
    one.free("desk")
    assert two.take("desk")
    one.free("never")


def test_the_names_of_a_process_that_died_are_free_and_no_others(tmp_path):
    one, two = SharedNames(tmp_path, 1), SharedNames(tmp_path, 12)
    assert all(one.take(name) for name in ("a", "b:5004", "user@host"))
    assert two.take("c")
    SharedNames(tmp_path, 1).free_all()
    assert one.take("a")
    assert not one.take("c")


def test_a_folder_that_is_gone_leaves_calls_with_a_name(tmp_path):
    names = SharedNames(tmp_path / "gone", 1)
    assert names.take("desk")
    names.free("desk")


def test_one_process_keeps_its_own():
    names = OwnNames()
    assert names.take("desk")
    assert not names.take("desk")
    names.free("desk")
    assert names.take("desk")
