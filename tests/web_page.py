"""A page on a free port, in this process: with a hub that tests fill by hand."""

import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

from patience import PATIENCE_S

from streamcab.config.address import HostPort
from streamcab.message import AnyMessage
from streamcab.web.hub import Hub
from streamcab.web.serve import Access, answering, bind, url

LOOPBACK, OPEN = HostPort("127.0.0.1:0"), Access()


class Client:
    """What asks a page; `at` is its address with a slash at the end."""

    def __init__(self, at: str) -> None:
        self.at = at
        self.port = int(at.rstrip("/").rpartition(":")[2])

    def get(
        self, path: str = "/", headers: Mapping[str, str] | None = None, method: str = "GET"
    ) -> http.client.HTTPResponse:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)) as connection:
            connection.request(method, path, headers=dict(headers or {}))
            answer = connection.getresponse()
            body = answer.read()
        answer.read = lambda amt=None: body  # type: ignore[method-assign]
        return answer

    @contextmanager
    def events(self) -> Iterator[Iterator[dict[str, Any]]]:
        """The events of the page, as a browser gets them; they end with the stream."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)) as connection:
            connection.request("GET", "/api/live")
            with connection.getresponse() as answer:
                assert answer.headers.get_content_type() == "text/event-stream"
                yield (json.loads(line[6:]) for line in answer if line.startswith(b"data: "))


class Page(Client):
    """A page and its hub."""

    def __init__(self, hub: Hub, at: str) -> None:
        super().__init__(at)
        self.hub = hub

    def tell(self, *messages: AnyMessage) -> None:
        self.hub.wall.take(messages, time.monotonic())
        self.hub.tick()


@contextmanager
def page(access: Access = OPEN, messages: Sequence[AnyMessage] = ()) -> Iterator[Page]:
    hub = Hub()
    with bind(LOOPBACK, access) as bound, answering(hub, bound, access, threading.Event()):
        one = Page(hub, url(bound, access))
        one.tell(*messages)
        yield one
