"""The socket of a feed: bound, with limits on what subscribers may cost, and with an authenticator in front of it.

Knows nothing of messages.
"""

import zmq

from streamcab.errors import FeedError
from streamcab.feed.curve import ServerKeys
from streamcab.feed.endpoint import bindable, prepare, share, taken
from streamcab.feed.zap import Authenticator

SEND_QUEUE = 4_096  # messages that wait for one stalled subscriber: 1,000 streams publish 2,000 in one pass
MAX_SUBSCRIPTION = 1_024  # bytes of a frame that a publisher takes


def outlet(
    context: zmq.Context[zmq.Socket[bytes]],
    endpoint: str,
    queue: int = SEND_QUEUE,
    keys: ServerKeys | None = None,
    ipc_group: str | None = None,
) -> tuple[zmq.Socket[bytes], Authenticator]:
    """Bind the socket of a feed, and return it with the authenticator that admits its clients.

    Raises:
        FeedError: See `Publisher`.
    """
    address = bindable(endpoint, keys is not None)
    socket = context.socket(zmq.XPUB)
    socket.setsockopt(zmq.XPUB_VERBOSE, 1)  # else the second joiner of a topic is not announced
    socket.setsockopt(zmq.SNDHWM, queue)
    socket.setsockopt(zmq.BACKLOG, 1_024)  # 1,000 subscribers may come at once, after a restart
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_SUBSCRIPTION)
    prepare(socket, address)
    door = Authenticator(context, socket, keys)
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        if error.errno == zmq.EADDRINUSE:
            raise taken(endpoint) from None
        raise FeedError(f"the feed cannot be bound to {endpoint}: {error.strerror}") from None
    if ipc_group:
        share(address, ipc_group)
    return socket, door
