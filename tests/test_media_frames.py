"""Frames of a client: what is split here is what the library's own parser finds, in chunks of any size."""

import random

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from streamcab.media.frames import BINARY, TEXT, Frames

Message = tuple[int, bytes]


def framed(opcode: Opcode, data: bytes, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


def by_library(protocol: ServerProtocol, data: bytes) -> list[Message]:
    protocol.receive_data(data)
    return [
        (0x80 | one.opcode, bytes(one.data)) for one in protocol.events_received() if isinstance(one, Frame)
    ]


def library() -> ServerProtocol:
    return ServerProtocol(state=State.OPEN, max_size=1 << 20)


def split(chunks: list[bytes]) -> list[Message]:
    """What Frames and, for the rest, the library make of it, as `media/server.py` does."""
    frames, protocol = Frames(), library()
    found: list[Message] = []
    for chunk in chunks:
        if protocol.state is not State.OPEN:
            break
        for first, part in frames.split(chunk):
            found += [(first, part)] if first in (TEXT, BINARY) else by_library(protocol, part)
            if protocol.state is not State.OPEN:
                break
    return found


def chunks_of(data: bytes, seed: int) -> list[bytes]:
    at, chunks, chance = 0, [], random.Random(seed)
    while at < len(data):
        n = chance.choice((1, 2, 7, 400, 3000))
        chunks.append(data[at : at + n])
        at += n
    return chunks


FRAMES = st.one_of(
    st.builds(framed, st.sampled_from([Opcode.TEXT, Opcode.BINARY]), st.binary(max_size=300)),
    st.builds(framed, st.just(Opcode.BINARY), st.sampled_from([bytes(n) for n in (125, 126, 65_535, 65_536)])),
    st.builds(framed, st.sampled_from([Opcode.PING, Opcode.PONG]), st.binary(max_size=125)),
    st.builds(framed, st.sampled_from([Opcode.TEXT, Opcode.CONT]), st.binary(max_size=9), st.booleans()),
    st.builds(Frame.serialize, st.builds(Frame, st.just(Opcode.TEXT), st.binary(max_size=9)), mask=st.just(False)),
    st.just(framed(Opcode.CLOSE, b"\x03\xe8")),
    st.binary(max_size=12),
)  # fmt: skip


@given(st.lists(FRAMES, max_size=12), st.integers(0, 99))
def test_messages_are_those_of_the_library(frames: list[bytes], seed: int) -> None:
    sent = b"".join(frames)
    assert split(chunks_of(sent, seed)) == by_library(library(), sent)


def test_messages_of_a_platform_need_no_other_parser() -> None:
    sent = b"".join(framed(Opcode.TEXT, b"%d" % n * 40) for n in range(100))
    frames = Frames()
    found = [one for chunk in chunks_of(sent, 1) for one in frames.split(chunk)]
    assert found == [(TEXT, b"%d" % n * 40) for n in range(100)]


def test_what_is_left_to_the_library_stays_with_it() -> None:
    frames = Frames()
    part, rest = framed(Opcode.TEXT, b"a", fin=False), framed(Opcode.CONT, b"b") + framed(Opcode.TEXT, b"c")
    assert [data for _, data in frames.split(part + rest[:3])] == [part + rest[:3]]
    assert [data for _, data in frames.split(rest[3:])] == [rest[3:]]
