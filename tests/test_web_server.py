"""The page over HTTP: headers, files, events, and who is let in."""

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import web_feed as feed
from patience import PATIENCE_S
from web_page import Client, Page, page

from streamcab.config.address import HostPort
from streamcab.errors import ConfigError, StreamcabError
from streamcab.web.guard import read_token
from streamcab.web.hub import Hub
from streamcab.web.serve import Access, bind

STATIC = Path(__file__).parents[1] / "streamcab" / "web" / "static"
TOKEN = "0123456789abcdef0123"


@pytest.fixture
def one() -> Iterator[Page]:
    with page(messages=[feed.model(), feed.status(), feed.answer()]) as served:
        yield served


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Page]:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    with page(Access(token=file)) as served:
        yield served


def test_a_browser_gets_everything_and_then_what_changes(one: Page) -> None:
    with one.events() as events:
        first = next(events)
        assert first["whole"]
        assert [row[0] for row in first["rows"]] == [1]
        one.tell(feed.answer(at_s=9.0, probs=(0, 0, 1)))
        second = next(events)
        assert "whole" not in second
        assert (second["n"], second["rows"][0][2]) == (first["n"] + 1, 2)


def test_a_browser_that_was_behind_gets_everything_anew() -> None:
    hub = Hub()

    async def browse() -> list[dict[str, Any]]:
        events, found = hub.events(), []
        async for event in events:
            if event.startswith(b"id"):
                found.append(json.loads(event.partition(b"data: ")[2]))
                for _ in range(3 - len(found)):  # twice while this one is busy, then once
                    hub.wall.take([feed.answer(f"call-{len(found)}-{_}")], time.monotonic())
                    hub.tick()
            if len(found) == 3:
                await events.aclose()
                break
        return found

    found = asyncio.run(browse())
    assert [tick.get("whole", False) for tick in found] == [True, True, False]
    assert [len(tick["rows"]) for tick in found] == [0, 2, 1]


def test_one_call_and_one_that_is_not_here(one: Page) -> None:
    found = json.loads(one.get("/api/call/1").read())
    assert (found["name"], found["top"], found["course"]["t"]) == ("mic", "uk", [5.0])
    assert one.get("/api/call/2").status == 404
    assert one.get("/api/call/../../etc/passwd").status == 404


@pytest.mark.parametrize("path", ["/", "/static/main.js", "/api/call/1", "/nothing", "/static/..%2fserve.py"])
def test_every_answer_says_what_a_browser_may_do_with_it(one: Page, path: str) -> None:
    answer = one.get(path)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] in ("no-store", "no-cache")
    assert "Server" not in answer.headers


def test_the_files_of_the_page_ask_no_other_address_and_hold_no_inline_script() -> None:
    files = list(STATIC.iterdir())
    assert len(files) > 5
    for file in files:
        text = file.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"https?://|//[a-z]+\.[a-z]", text), file
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", text), file
        assert not re.search(r"<script(?![^>]*src=)|\son\w+=|\sstyle=|javascript:", text), file


def test_a_file_that_a_browser_has_is_not_sent_again(one: Page) -> None:
    tag = one.get("/static/wall.js").headers["ETag"]
    again = one.get("/static/wall.js", {"If-None-Match": tag})
    assert (again.status, again.read()) == (304, b"")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1234", "[::1]:80", "10.1.2.3:80", "LOCALHOST."])
def test_addresses_and_localhost_are_known(one: Page, host: str) -> None:
    assert one.get("/", {"Host": host}).status == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "localhost.evil.example", ""])
def test_a_name_that_somebody_pointed_here_is_refused(one: Page, host: str) -> None:
    assert one.get("/api/call/1", {"Host": host}).status == 421


def test_a_name_that_was_given_is_known() -> None:
    with page(Access(hosts=("Accents.example",))) as served:
        assert served.get("/", {"Host": "accents.example:443"}).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_can_be_changed(one: Page, method: str) -> None:
    assert one.get("/api/call/1", method=method).status == 405


def test_other_sites_may_not_ask(one: Page) -> None:
    assert one.get("/api/live", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}).status == 403
    assert one.get("/", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}).status == 200


@pytest.mark.parametrize(
    "path", ["/", "/static/main.js", "/api/live", "/api/call/1", "/api/about", "/health"]
)
def test_without_the_token_nothing_is_answered(locked: Page, path: str) -> None:
    for headers in ({}, {"Cookie": f"streamcab={TOKEN}"}, {"Authorization": "Bearer wrong"}):
        answer = locked.get(path, headers)
        assert answer.status == 401
        assert TOKEN.encode() not in answer.read()


def test_the_token_in_the_address_becomes_a_cookie(locked: Page) -> None:
    answer = locked.get(f"/?token={TOKEN}")
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    assert TOKEN not in cookie
    assert locked.get("/api/about", {"Cookie": cookie.partition(";")[0]}).status == 200
    assert locked.get("/api/about", {"Authorization": f"Bearer {TOKEN}"}).status == 200
    assert locked.get(f"/api/about?token={TOKEN}").status == 401
    assert locked.get("/?token=wrong&token=%ff%00").status == 401


def test_an_address_that_others_reach_needs_a_token(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--web-token"):
        bind(HostPort("0.0.0.0:0"), Access())
    with pytest.raises(ConfigError, match="go together"):
        bind(HostPort("127.0.0.1:0"), Access(cert=tmp_path / "c"))


def test_a_port_that_is_taken_is_said() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(StreamcabError, match="choose another address"),
    ):
        bind(HostPort(f"127.0.0.1:{other.getsockname()[1]}"), Access())


@pytest.mark.parametrize("text", ["short", "with spaces in the middle", "", "é" * 20])
def test_a_token_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(ConfigError, match="openssl rand"):
        read_token(file)
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_token(file)
    with pytest.raises(ConfigError, match="cannot read"):
        read_token(tmp_path / "none")


def test_a_browser_that_looks_on_does_not_keep_the_server() -> None:
    with page() as served, served.events() as events:
        next(events)
        served.hub.close()
        assert list(events) == []


def test_the_command_serves_a_feed_and_ends_at_a_signal() -> None:
    with feed.feed_of(3) as publisher:
        words = [sys.executable, "-m", "streamcab", "web", "--listen", "127.0.0.1:0", publisher.endpoint]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            said = child.stdout.readline()
            found = re.search(r"http://127\.0\.0\.1:\d+/", said)
            assert found, said
            with Client(found[0]).events() as events:
                assert any(len(tick["rows"]) == 3 for tick in events)
                child.send_signal(signal.SIGTERM)
                for _ in events:
                    pass
            assert child.wait(PATIENCE_S) == 0


def test_a_page_beside_a_daemon_ends_with_it_even_if_it_was_killed() -> None:
    code = """
import sys
import time
from streamcab.config.address import HostPort
from streamcab.web.child import Page
from streamcab.web.hub import Hub
from streamcab.web.serve import Access
page = Page(HostPort("127.0.0.1:0"), Access())
with page.beside("ipc:///nowhere/streamcab-none", None):
    print(page.url, flush=True)
    sys.stdin.read()
"""
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        with Client(parent.stdout.readline().strip()).events() as events:
            assert next(events)["whole"]
            parent.kill()
            for _ in events:
                pass
