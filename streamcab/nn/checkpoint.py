"""A model as one file: safetensors with the weights, and all metadata as one JSON string in its header.

Weights and labels cannot drift apart, loading executes nothing, and writing is atomic. A file that is damaged,
foreign or newer is refused with the reason. Knows nothing of training or of streams.
"""

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from streamcab.errors import CheckpointError
from streamcab.nn.architecture import Architecture
from streamcab.nn.confidence import Confidence
from streamcab.nn.weights import Net, Weights, check_integers, shapes, without_voice
from streamcab.text import read_bytes

if TYPE_CHECKING:
    from streamcab.nn.cabcnn import CabCnn

FORMAT = 1
KEY = "streamcab"


@dataclass
class Checkpoint:
    """A network and its description.

    Attributes:
        net: Its weights, or the torch modules that hold them.
        card: Name, corpus, corpus hash, split, speakers, scores, licence. Free-form; shown to users and published.
        hash: First 12 hexadecimal digits of the file's SHA-256.
    """

    net: Net
    card: dict[str, Any] = field(default_factory=dict)
    hash: str = ""

    @property
    def architecture(self) -> Architecture:
        """The architecture of the network."""
        return self.net.architecture

    @property
    def weights(self) -> Weights:
        """The current weights of the network."""
        return self.net.weights

    @cached_property
    def model(self) -> "CabCnn":
        """The network as torch modules, built on first use. Needs torch."""
        from streamcab.nn.cabcnn import CabCnn

        return CabCnn.of(self.net)

    @property
    def with_one_voice(self) -> "Checkpoint":
        """The same without what tells voices apart: its c_t are then, to the bit, those of a model without that."""
        return replace(self, net=without_voice(self.net))

    @property
    def confidence(self) -> Confidence:
        """Temperature and threshold from the card.

        Raises:
            ValueError: `load` would refuse this card.
        """
        return Confidence.of(self.card)


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint atomically: `path` holds the complete new file, or is left as it was.

    Args:
        checkpoint: What to write.
        path: The file.

    Raises:
        CheckpointError: The file cannot be written.
    """
    meta = {"format": FORMAT, "architecture": checkpoint.architecture.to_dict(), "card": checkpoint.card}
    arrays = dict(checkpoint.weights.arrays)
    meta["digest"] = _digest(json.loads(json.dumps(meta)), arrays)
    data = safetensors.numpy.save(arrays, {KEY: json.dumps(meta, sort_keys=True)})
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            part.unlink()


def load(path: Path) -> Checkpoint:
    """Read and check a checkpoint.

    Args:
        path: A safetensors file written by `save`.

    Returns:
        The checkpoint, with weights as arrays.

    Raises:
        CheckpointError: The file is missing, damaged, foreign or newer; the message says which.
    """
    try:
        data = read_bytes(path)
    except IsADirectoryError:
        raise CheckpointError(f"{path} is a folder, not a checkpoint") from None
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error.strerror}") from None
    try:
        arrays = safetensors.numpy.load(data)
        # From the same bytes: the file may be replaced at any moment.
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__") or {}
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"{path} is damaged or not a checkpoint: {_line(error)}") from None
    if KEY not in header:
        raise CheckpointError(f"{path} holds tensors, but is not a streamcab checkpoint")
    try:
        meta = json.loads(header[KEY])
        if meta["format"] != FORMAT:
            raise CheckpointError(f"{path} has format {meta['format']}; this version reads format {FORMAT}")
        if "digest" in meta and meta.pop("digest") != _digest(meta, arrays):
            raise CheckpointError(f"{path} is damaged: it is not what was written; fetch or train it again")
        card = meta["card"]
        if not isinstance(card, dict):
            raise TypeError(f"its card is no table, but {card!r}")
        Confidence.of(card)
        architecture = Architecture.from_dict(meta["architecture"])
        _check_sizes(architecture, arrays)
        check_integers(Weights(architecture, arrays))
    except (KeyError, TypeError, ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
        raise CheckpointError(f"{path} does not fit this version of streamcab: {_line(error)}") from None
    bad = [name for name, a in arrays.items() if a.dtype.kind == "f" and not np.isfinite(a).all()]
    if bad:
        raise CheckpointError(f"{path} holds weights that are not finite, in {bad[0]}")
    if (arrays["distiller.norm.running_var"] < 0).any():
        raise CheckpointError(f"{path} holds a negative variance, in distiller.norm.running_var")
    return Checkpoint(Weights(architecture, arrays), card, hashlib.sha256(data).hexdigest()[:12])


def _check_sizes(architecture: Architecture, arrays: dict[str, NDArray[Any]]) -> None:
    """Raise ValueError unless the arrays are exactly those of the architecture, in shape and type."""
    wanted = shapes(architecture)
    found = {k: (v.dtype, v.shape) for k, v in arrays.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            (want, have) = (f"{d[0]} {d[1]}" if d else "nothing" for d in (wanted.get(name), found.get(name)))
            raise ValueError(f"{name} is {have}, and its architecture wants {want}")


def _digest(meta: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of metadata and weights; a flipped bit in a weight would go unnoticed otherwise."""
    sha = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name in sorted(arrays):
        sha.update(name.encode())
        sha.update(arrays[name].tobytes())
    return sha.hexdigest()


def _line(error: Exception) -> str:
    """Return an error's text as one line; for a missing key, which key."""
    text = f"{error} is missing" if isinstance(error, KeyError) else str(error)
    return " ".join(text.split())


def bundled(name: str = "default") -> Path:
    """Return the path of a model that ships with the package."""
    return Path(str(resources.files("streamcab") / "models" / f"{name}.safetensors"))


def find(model: str | Path | None) -> Path:
    """Return the path of a model that a user named.

    Args:
        model: A path, the bare name of a bundled model such as `phones`, or None for the default model.
    """
    if model is None:
        return bundled()
    path = Path(model)
    shipped = bundled(str(model))
    return shipped if path.parent == Path() and not path.exists() and shipped.exists() else path
