"""Bytes of uncompressed audio as samples: libsndfile writes the files, and says what is in them."""

import io
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from streamcab.errors import AudioError
from streamcab.source.pcm import UNKNOWN_SIZE, WIDTHS, Format, decode, read_wav_header

SUBTYPES = {
    "u8": "PCM_U8",
    "s16le": "PCM_16",
    "s24le": "PCM_24",
    "s32le": "PCM_32",
    "f32le": "FLOAT",
    "f64le": "DOUBLE",
}


def wav(subtype, channels=2, rate=16_000, n=50):
    """A WAV file as bytes, and its samples as libsndfile reads them again."""
    sound = np.random.default_rng(3).uniform(-1, 1, (n, channels))
    file = io.BytesIO()
    soundfile.write(file, sound, rate, subtype=subtype, format="WAV")
    file.seek(0)
    samples, _ = soundfile.read(file, dtype="float32", always_2d=True)
    return file.getvalue(), samples


@pytest.mark.parametrize(("encoding", "subtype"), SUBTYPES.items())
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_stream_is_read_as_libsndfile_reads_the_file(encoding, subtype, channels):
    data, samples = wav(subtype, channels)
    stream = io.BytesIO(data)
    format = read_wav_header(stream.read)
    assert (format.encoding, format.rate, format.channels) == (encoding, 16_000, channels)
    assert format.frame == WIDTHS[encoding] * channels
    assert format.size == format.frame * len(samples)
    found = decode(stream.read(format.size), format)
    assert found.dtype == np.float32
    assert found == pytest.approx(samples, abs=1e-7)


@pytest.mark.parametrize("size", [0, UNKNOWN_SIZE, 0xFFFFFFFF])
def test_a_size_that_a_writer_to_a_pipe_could_not_know_is_until_the_end(size):
    data, _ = wav("PCM_16")
    at = data.index(b"data") + 4
    assert read_wav_header(io.BytesIO(data[:at] + struct.pack("<I", size) + data[at + 4 :]).read).size is None


def test_chunks_that_are_not_known_are_passed_over_odd_ones_with_their_padding():
    data, _ = wav("PCM_16")
    at = data.index(b"fmt ")
    more = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    stream = io.BytesIO(data[:at] + more + data[at:])
    assert read_wav_header(stream.read).encoding == "s16le"
    assert stream.tell() == data.index(b"data") + 8 + len(more)


def chunk(tag=1, channels=1, rate=8000, align=2, bits=16):
    body = struct.pack("<HHIIHH", tag, channels, rate, 0, align, bits)
    return b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<I", len(body)) + body + b"data\0\0\0\0"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no data; is something piped in"),
        (b"OggS" + bytes(20), "not a WAV stream"),
        (b"RIFF\0\0\0\0AVI " + bytes(20), "not a WAV stream"),
        (chunk()[:30], "ends inside its header"),
        (chunk()[:20], "ends inside its header"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "samples before their format"),
        (b"RIFF\0\0\0\0WAVEjunk\xff\xff\xff\x7f", "first MiB"),
        (chunk(channels=0), "invalid WAV header: 0 channels"),
        (chunk(rate=0), "0 Hz"),
        (chunk(channels=2, align=3), "3 bytes a frame"),
        (chunk(tag=0x31, align=1, bits=8), "0x31 of 8 bits is neither PCM, float nor G.711"),
    ],
)
def test_what_is_no_stream_that_can_be_heard_is_refused_in_one_line(data, why):
    with pytest.raises(AudioError, match=why) as error:
        read_wav_header(io.BytesIO(data).read)
    assert "\n" not in str(error.value)


@given(st.binary(max_size=300))
def test_whatever_the_bytes_the_header_is_read_or_refused(data):
    for start in (b"", b"RIFF\0\0\0\0WAVE", chunk()[:36]):
        try:
            format = read_wav_header(io.BytesIO(start + data).read)
        except AudioError:
            continue
        assert format.encoding in WIDTHS


def test_twenty_bits_in_three_bytes_are_three_bytes():
    assert read_wav_header(io.BytesIO(chunk(align=3, bits=20)).read).encoding == "s24le"


def test_full_scale_and_silence():
    assert decode(b"\x00\x80\xff", Format("u8", 8000, 1)).ravel().tolist() == [-1.0, 0.0, 127 / 128]
    assert decode(struct.pack("<hh", -32768, 32767), Format("s16le", 8000, 1)).ravel().tolist() == [
        -1.0,
        32767 / 32768,
    ]
    assert decode(b"\x00\x00\x80", Format("s24le", 8000, 1)).ravel().tolist() == [-1.0]
    assert np.isinf(decode(struct.pack("<d", 1e300), Format("f64le", 8000, 1))).all()
