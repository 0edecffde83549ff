"""Files of keys: permissions, that none is overwritten, what is refused, and the folder of those let in."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
import zmq.auth
from click.testing import CliRunner
from zmq.utils import z85

from streamcab.cli.keys import keys as command
from streamcab.errors import ConfigError
from streamcab.feed import curve as module
from streamcab.feed.curve import ClientKeys, Pair, ServerKeys, create, listing, read_pair, read_public


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def raw(public: bytes) -> bytes:
    """A public key as it comes over the wire."""
    return z85.decode(public)


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=["umask 000", "umask 022", "umask 077"])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.fixture
def server(tmp_path: Path) -> ServerKeys:
    """The keys of a daemon that lets nobody in yet."""
    create(tmp_path / "keys", "server")
    return ServerKeys(tmp_path / "keys")


@pytest.mark.usefixtures("umask")
def test_the_secret_is_for_its_owner_and_the_public_key_for_everybody(tmp_path: Path) -> None:
    secret, public = create(tmp_path / "deep" / "keys", "laptop", allow=True)
    assert (secret.name, public.name) == ("laptop.key_secret", "laptop.key")
    assert mode(secret) == 0o600
    assert mode(public) == mode(tmp_path / "deep" / "keys" / "allow" / "laptop.key") == 0o644
    pair = read_pair(secret)
    assert zmq.curve_public(pair.secret) == pair.public == read_public(public)
    assert pair.secret.decode() not in public.read_text(encoding="utf-8")
    assert pair.secret.decode() not in repr(pair)


def test_the_files_are_those_of_pyzmq(tmp_path: Path) -> None:
    secret, public = create(tmp_path, "ours")
    pair = read_pair(secret)
    assert zmq.auth.load_certificate(secret) == (pair.public, pair.secret)
    assert zmq.auth.load_certificate(public) == (pair.public, None)
    _, theirs = zmq.auth.create_certificates(tmp_path, "theirs")
    with pytest.raises(ConfigError, match="can be read by others: chmod 600"):
        read_pair(Path(theirs))
    os.chmod(theirs, 0o600)
    assert read_pair(Path(theirs)).public == read_public(tmp_path / "theirs.key")


@pytest.mark.parametrize("there", ["laptop.key", "laptop.key_secret", "allow/laptop.key"])
def test_nothing_is_overwritten_and_nothing_is_left_behind(tmp_path: Path, there: str) -> None:
    (tmp_path / "allow").mkdir()
    (tmp_path / there).write_text("mine")
    with pytest.raises(ConfigError, match=rf"{there} is there already and stays"):
        create(tmp_path, "laptop", allow=True)
    assert (tmp_path / there).read_text(encoding="utf-8") == "mine"
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / there]


def test_a_link_to_nowhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "laptop.key_secret").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="is there already"):
        create(tmp_path, "laptop")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/passwd", "-x", "a b", "é", "a\n", "x" * 65])
def test_what_cannot_name_a_key(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name a key"):
        create(tmp_path, name)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot write .*file"):
        create(tmp_path / "file" / "keys", "laptop")


GOOD = Pair.random()
OTHER = Pair.random()


def content(public: str = GOOD.public.decode(), secret: str = GOOD.secret.decode()) -> bytes:
    return f'curve\n    public-key = "{public}"\n    secret-key = "{secret}"\n'.encode()


@pytest.mark.parametrize(
    ("damaged", "words"),
    [
        (b"", "holds no secret key"),
        (b"\x00\xff\xfe" * 1000, "holds no secret key"),
        (content()[:-30], r"holds no secret key; the secret one ends in \.key_secret"),
        (content(secret=GOOD.secret.decode()[:-1]), "a half is damaged"),
        (content(secret="'" * 40), "a half is damaged"),
        (content(secret="#####" * 8), "a half is damaged"),
        (content(public=OTHER.public.decode()), "halves of two keys"),
        (b"#" * (1 << 20) + b"\n" + content(), "holds no secret key"),
    ],
    ids=["empty", "binary", "cut", "short", "quotes", "hashes", "two-keys", "too-long"],
)
def test_a_file_that_is_no_key_is_an_error_in_words(tmp_path: Path, damaged: bytes, words: str) -> None:
    path = tmp_path / "laptop.key_secret"
    path.write_bytes(damaged)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=rf"laptop\.key_secret.*{words}"):
        read_pair(path)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    secret, public = create(tmp_path, "laptop")
    with pytest.raises(ConfigError, match=r"cannot read the key .*none\.key"):
        ClientKeys.load(secret, tmp_path / "none.key")
    with pytest.raises(ConfigError, match="holds no secret key; the secret one ends in"):
        ClientKeys.load(public, public)
    with pytest.raises(ConfigError, match=r"server\.key_secret: make it with `streamcab keys new server"):
        ServerKeys(tmp_path)


@pytest.mark.parametrize("bits", [0o040, 0o004, 0o020, 0o002, 0o644])
def test_a_secret_that_others_can_read_is_none(tmp_path: Path, bits: int) -> None:
    secret, _ = create(tmp_path, "laptop")
    secret.chmod(0o600 | bits)
    with pytest.raises(ConfigError, match=r"can be read by others: chmod 600"):
        read_pair(secret)


def test_the_secret_of_a_service_comes_from_its_credentials(tmp_path: Path) -> None:
    folder, credentials = tmp_path / "keys", tmp_path / "credentials"
    secret, _ = create(folder, "server")
    credentials.mkdir()
    assert ServerKeys(folder, str(credentials)).pair == read_pair(secret)
    secret.rename(credentials / "curve-secret")
    assert ServerKeys(folder, str(credentials)).pair == read_pair(credentials / "curve-secret")


def test_without_a_folder_of_those_let_in_there_is_no_service(tmp_path: Path) -> None:
    create(tmp_path, "server")
    (tmp_path / "allow").rmdir()
    with pytest.raises(ConfigError, match=r"there is no folder .*allow: make it"):
        ServerKeys(tmp_path)


def test_an_empty_folder_lets_nobody_in_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    create(tmp_path, "server")
    server = ServerKeys(tmp_path)
    assert "no subscriber is allowed yet" in caplog.text
    assert server.name(raw(Pair.random().public)) is None
    assert server.name(raw(server.pair.public)) is None
    assert server.name(b"") is None
    assert server.name(raw(server.local.own.public)) == "local"


def test_keys_come_and_go_while_it_runs(server: ServerKeys, tmp_path: Path) -> None:
    allow = server.folder
    pairs = {name: read_pair(create(tmp_path, name)[0]) for name in ("one", "two", "new")}

    def known() -> set[str]:
        server.refresh()
        return {name for name, pair in pairs.items() if server.name(raw(pair.public))}

    assert known() == set()
    shutil.copy(tmp_path / "one.key", allow)
    assert known() == {"one"}
    shutil.copy(tmp_path / "two.key", allow)
    assert known() == {"one", "two"}
    # Replaced in its place, and by renaming: a name stands for its newest key.
    (allow / "one.key").write_bytes((tmp_path / "new.key").read_bytes())
    assert known() == {"two", "new"}
    assert server.name(raw(pairs["new"].public)) == "one"
    shutil.copy(tmp_path / "one.key", tmp_path / "moving")
    (tmp_path / "moving").rename(allow / "one.key")
    assert known() == {"one", "two"}
    (allow / "two.key").unlink()
    assert known() == {"one"}
    shutil.rmtree(allow)
    assert known() == set()
    allow.mkdir()
    shutil.copy(tmp_path / "two.key", allow)
    assert known() == {"two"}


def test_what_is_no_key_shuts_nobody_else_out(
    server: ServerKeys, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pair = read_pair(create(tmp_path / "keys", "laptop", allow=True)[0])
    (server.folder / "broken.key").write_bytes(b"\x00" * 100)
    (server.folder / "folder.key").mkdir()
    (server.folder / "nowhere.key").symlink_to(tmp_path / "nowhere")
    (server.folder / "readme.txt").write_text(content().decode())
    os.mkfifo(server.folder / "pipe.key")
    server.refresh()
    assert server.name(raw(pair.public)) == "laptop"
    assert server.name(raw(GOOD.public)) is None
    assert "ignored: " in caplog.text
    assert "broken.key" in caplog.text


def test_a_folder_that_has_not_changed_is_not_read_again(
    server: ServerKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(tmp_path / "keys", "laptop", allow=True)
    read: list[Path] = []

    def counting(path: Path) -> bytes:
        read.append(path)
        return read_public(path)

    monkeypatch.setattr(module, "read_public", counting)
    server.refresh()
    server.refresh()
    assert len(read) == 2  # so young that it may change once more within the same time stamp
    monkeypatch.setattr(module, "SETTLED_NS", -(1 << 62))
    for _ in range(5):
        server.refresh()
    assert len(read) == 3


def test_a_folder_that_vanished_is_told_once(server: ServerKeys, caplog: pytest.LogCaptureFixture) -> None:
    server.folder.rmdir()
    for _ in range(5):
        server.refresh()
    assert caplog.text.count("no new subscriber can be admitted") == 1


def test_listing(tmp_path: Path) -> None:
    assert listing(tmp_path / "none") == []
    create(tmp_path, "server")
    create(tmp_path, "laptop", allow=True)
    create(tmp_path / "elsewhere", "desk")
    shutil.copy(tmp_path / "elsewhere" / "desk.key", tmp_path / "allow")
    found = listing(tmp_path)
    assert [(key.name, key.secret, key.allowed) for key in found] == [
        ("desk", False, True),
        ("laptop", True, True),
        ("server", True, False),
    ]


class TestCommand:
    def test_new_and_list(self, tmp_path: Path) -> None:
        folder = tmp_path / "keys"
        done = CliRunner().invoke(command, ["new", "server", "--keys", str(folder)])
        assert done.exit_code == 0, done.output
        assert f"streamcab listen --keys {folder}" in done.output
        done = CliRunner().invoke(command, ["new", "laptop", "--allow"], env={"STREAMCAB_KEYS": str(folder)})
        assert done.exit_code == 0, done.output
        secret = read_pair(folder / "laptop.key_secret")
        assert secret.secret.decode() not in done.output
        done = CliRunner().invoke(command, ["list", "--keys", str(folder)])
        lines = done.output.splitlines()
        assert lines[0] == f"laptop  {secret.public.decode()}  secret here, admitted"
        assert lines[1].startswith("server  ")
        assert len(lines) == 2

    def test_by_default_in_the_folder_of_the_user(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        assert CliRunner().invoke(command, ["new", "laptop"]).exit_code == 0
        assert (tmp_path / ".config/streamcab/keys/laptop.key_secret").exists()
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
        done = CliRunner().invoke(command, ["list"])
        assert (done.exit_code, "No keys in" in done.output) == (0, True)

    @pytest.mark.parametrize("words", [["new", "a/b"], ["new", "twice"], ["list"]])
    def test_a_mistake_is_one_line_and_two(self, tmp_path: Path, words: list[str]) -> None:
        create(tmp_path, "twice")
        (tmp_path / "broken.key").write_text("")
        done = CliRunner().invoke(command, [*words, "--keys", str(tmp_path)])
        assert done.exit_code == 2
        assert done.output.startswith("Error: ")
        assert done.output.count("\n") == 1
