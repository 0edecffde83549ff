"""The stateless codecs against ffmpeg, and the lengths of Opus packets against RFC 6716."""

import shutil
import subprocess

import numpy as np
import pytest

from streamcab.rtp.bank import HOLE
from streamcab.rtp.codec import TABLES, Encoding, decode, decode_g711, opus_samples


@pytest.mark.parametrize(("name", "ffmpeg"), [("PCMU", "mulaw"), ("PCMA", "alaw")])
def test_g711_tables_are_ffmpegs(name, ffmpeg):
    if shutil.which("ffmpeg") is None:
        pytest.skip("no ffmpeg")
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-f",
        ffmpeg,
        "-ar",
        "8000",
        "-ac",
        "1",
        "-i",
        "-",
        "-f",
        "s16le",
        "-",
    ]
    out = subprocess.run(command, input=bytes(range(256)), stdout=subprocess.PIPE, check=True).stdout
    np.testing.assert_array_equal(TABLES[name], np.frombuffer(out, "<i2"))


@pytest.mark.parametrize("name", ["PCMU", "PCMA"])
def test_g711_leaves_a_value_for_what_is_missing(name):
    assert TABLES[name].min() > HOLE


@pytest.mark.parametrize("name", ["PCMU", "PCMA"])
def test_pairs_decode_as_singles(name):
    codes = np.arange(65536, dtype=np.uint16).view(np.uint8).reshape(256, -1)
    np.testing.assert_array_equal(decode_g711(name, codes), TABLES[name][codes])


def test_linear_formats():
    l16 = np.array([[0x7F, 0xFF, 0x80, 0x00, 0x00, 0x01]], np.uint8)
    np.testing.assert_array_equal(decode(Encoding("L16", 8000), l16, None), [[32767 / 32768, -1, 1 / 32768]])
    l24 = np.array([[0x7F, 0xFF, 0xFF, 0x80, 0, 0, 0, 0, 1]], np.uint8)
    want = np.array([[1 - 2**-23, -1, 2**-23]], np.float32)
    np.testing.assert_array_equal(decode(Encoding("L24", 8000), l24, None), want)


def test_the_clock_of_g722_is_half_its_rate():
    encoding = Encoding("G722", 8000)
    assert (encoding.rate, encoding.step) == (16000, 2)


@pytest.mark.parametrize(
    ("first", "second", "samples"),
    [
        (0b00000_0_00, 0, 480),  # SILK, 10 ms
        (0b00011_0_00, 0, 2880),  # SILK, 60 ms
        (0b01100_0_01, 0, 960),  # hybrid, twice 10 ms
        (0b11111_0_00, 0, 960),  # CELT, 20 ms
        (0b10000_0_11, 0b1000_0010, 240),  # CELT, twice 2.5 ms, padded
        (0b11111_0_11, 7, 0),  # 140 ms: longer than a packet may be
        (0b11111_0_11, 0, 0),  # no frame
    ],
)
def test_opus_lengths(first, second, samples):
    got = opus_samples(np.array([first], np.uint8), np.array([second], np.uint8))
    assert got.tolist() == [samples]
