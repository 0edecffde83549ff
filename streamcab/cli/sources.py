"""Options into the sources of a daemon: microphones, files, addresses, standard input and calls.

Imports each kind of source only when it is asked for.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from streamcab.config.tree import Listen

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamcab.rtp.ports import Ports
    from streamcab.source import Source
    from streamcab.source.media import MediaSource
    from streamcab.source.rtp import RtpSource


def sources_of(o: Listen) -> "list[Source]":
    """Return the sources that these options name, not started; empty if they name none."""
    from streamcab.source.file import AudioFile
    from streamcab.source.microphone import Microphone
    from streamcab.source.stdin import Stdin

    s = o.sources
    pace: Literal["live", "fast"] = "fast" if s.fast else "live"
    sources: list[Source] = [Microphone(int(d) if d.isdigit() else d, s.channel) for d in s.device]
    sources += [AudioFile(_no_address(file), pace, s.channel, loop=s.loop) for file in s.file]
    if s.url:
        from streamcab.source.url import NetStream

        sources += [NetStream(url, s.channel) for url in s.url]
    if s.stdin:
        if s.stdin != "wav" and s.rate is None:
            raise click.UsageError(f"--stdin {s.stdin} is raw audio and needs --rate.")
        sources.append(Stdin(s.stdin, s.rate, s.channels, s.channel))
    if o.rtp.rtp or o.rtp.sdp:
        sources.append(rtp_source(o))
    if o.media.media or o.media.audiosocket:
        sources.append(media_source(o))
    return sources


def rtp_source(o: Listen, ports: "Ports | None" = None) -> "RtpSource":
    """Make the source of calls by RTP: all, on its own ports, or those that come to these, of several processes."""
    from streamcab.source.rtp import SHARED_TICK_S, TICK_S, RtpSource

    return RtpSource(
        o.rtp.rtp,
        max_streams=o.max_streams,
        allow=o.rtp.allow,
        payload_types=o.rtp.pt,
        sdp=o.rtp.sdp,
        name_map=o.rtp.name_map,
        lookback_ms=o.rtp.lookback_ms,
        idle_s=o.rtp.idle,
        same_call=o.rtp.same_call,
        channel=o.sources.channel,
        tick_s=TICK_S if ports is None else SHARED_TICK_S,
        ports=ports,
    )


def _no_address(file: Path) -> Path:
    """Return the path of a file; an address under --file is a mistake."""
    if re.match("(https?|rtsps?|icecast):/", str(file)) and not file.exists():
        address = str(file).replace(":/", "://", 1)  # a path has single slashes
        raise click.UsageError(f"--file {address} is an address: give it with --url.")
    return file


def media_source(o: Listen, room: "Callable[[int], bool] | None" = None) -> "MediaSource":
    """The source of calls over WebSocket and TCP; with `room`, at addresses that other processes serve, too."""
    from streamcab.media.admission import read_secrets
    from streamcab.ops.pseudonyms import Pseudonyms
    from streamcab.source.media import MediaSource

    m = o.media
    if (m.media_cert is None) != (m.media_key is None):
        raise click.UsageError("--media-cert and --media-key go together.")
    return MediaSource(
        m.media,
        m.audiosocket,
        max_streams=o.max_streams,
        secrets=read_secrets(m.media_secrets) if m.media_secrets else None,
        url=m.media_url,
        tls=(m.media_cert, m.media_key) if m.media_cert and m.media_key else None,
        plain=m.media_plain,
        allow=o.rtp.allow,
        per_address=m.media_per_address,
        idle_s=o.rtp.idle,
        number={
            "hash": Pseudonyms.load(o.names.hash_salt).name if m.caller_numbers == "hash" else str,
            "show": str,
            "hide": lambda _: "",
        }[m.caller_numbers],
        room=room,
    )
