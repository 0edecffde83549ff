"""CAB-CNN (paper, section 3; Table 2): the distiller, the ACB, and the mean over time; a trunk between the first two.

In torch: for training, for GPUs, and as the reference that every other way to compute is held to. Knows nothing of
files, streams or audio rates below the pooled signal.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from streamcab.dsp.detector import shapes
from streamcab.nn import voice
from streamcab.nn.acb import Acb
from streamcab.nn.architecture import Architecture
from streamcab.nn.distiller import Distiller
from streamcab.nn.trunk import Trunk
from streamcab.nn.weights import Net, Weights

__all__ = ["Architecture", "CabCnn", "PhoneLayer", "mean_of_votes"]


class PhoneLayer(nn.Module):
    """The layer that `phones.py` reads: a net of two layers, and the mean sound of each phone. Fitted apart."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        k, phones = architecture.summary, architecture.phones
        self.hidden = nn.Linear((2 * architecture.reach + 1) * k, architecture.phone_hidden)
        self.out = nn.Linear(architecture.phone_hidden, phones)
        self.usual: Tensor
        self.deviation: Tensor
        self.register_buffer("usual", torch.zeros(phones, k))
        self.register_buffer("deviation", torch.ones(k))
        self.requires_grad_(False)

    def forward(self, around: Tensor) -> Tensor:
        """Compute logarithms of phones, up to a constant, (N, phones), of u around intervals (N, (2 * reach + 1) *
        summary)."""
        found: Tensor = self.out(torch.relu(self.hidden(around)))
        return found


class VoiceLayer(nn.Module):
    """Half way through the trunk: the numbers by which voices are told apart, and what reads them. Taught apart."""

    def __init__(self, channels: int, numbers: int) -> None:
        super().__init__()
        self.of_interval = nn.Linear(channels, numbers)
        for name, shape in voice.shapes(numbers).items():
            self.register_buffer(name, torch.zeros(shape))
        self.requires_grad_(False)


class DetectorLayer(nn.Module):
    """The weights of `detector.py`, which are trained separately."""

    def __init__(self, channels: int, form: int) -> None:
        super().__init__()
        for name, shape in shapes(channels, form).items():
            self.register_buffer(name, torch.zeros(shape))


class CabCnn(nn.Module):
    """Normalised pooled audio -> c_t and attention for each interval."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.distiller = Distiller(architecture.stages, whole=architecture.integers)
        width = architecture.stages[-1].filters
        self.trunk = (
            Trunk(architecture.trunk, width, architecture.trunk_hidden, self.distiller.delay)
            if architecture.trunk
            else None
        )
        self.acb = Acb(
            width,
            len(architecture.labels),
            architecture.classifiers,
            architecture.hidden,
            architecture.attention,
        )
        k = architecture.summary
        self.summary = nn.Linear(width, k) if k else None
        """a_t -> u_t, what `moments.py` averages products of, or `phones.py` for each phone."""
        self.evidence = nn.Linear(architecture.evidence, len(architecture.labels)) if k else None
        """The numbers of a window -> what they say for each label, in logarithms; nothing until it is fitted."""
        if self.evidence is not None:
            nn.init.zeros_(self.evidence.weight)
            nn.init.zeros_(self.evidence.bias)
        self.other = nn.Linear(width, 1) if architecture.other else None
        """The ACB's input -> the score that the accent is of none of the labels. Fitted apart."""
        if self.other is not None:
            self.other.requires_grad_(False)
        self.phones = PhoneLayer(architecture) if architecture.phones else None
        self.voice = VoiceLayer(width, architecture.voice) if architecture.voice else None
        self.detector = (
            DetectorLayer(architecture.detector, architecture.detector_form)
            if architecture.detector
            else None
        )

    @classmethod
    def of(cls, net: Net) -> "CabCnn":
        """Return the torch modules of a net, ready for inference: its own where it is such, else built from its
        weights."""
        if isinstance(net, CabCnn):
            return net
        with torch.device("meta"):
            model = cls(net.architecture)
        tensors = {name: torch.from_numpy(np.array(a)) for name, a in net.weights.arrays.items()}
        model.to_empty(device="cpu").load_state_dict(tensors, strict=True)
        return model.eval()

    @property
    def weights(self) -> Weights:
        """Its weights as arrays, copied."""
        arrays = {name: t.detach().cpu().contiguous().numpy().copy() for name, t in self.state_dict().items()}
        return Weights(self.architecture, arrays)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute whole clips: x (B, T), T a multiple of the interval -> c (B, T / interval, labels), attention."""
        c, alpha = self.acb(self.heard(x))
        return c, alpha

    def heard(self, x: Tensor) -> Tensor:
        """Compute the ACB's input for whole clips, a_t or the trunk's output.

        Args:
            x: (B, T).

        Returns:
            (B, T / interval, features).
        """
        a: Tensor = self.distiller(x)
        if self.trunk is not None:
            a = self.trunk(a)
        return a

    @torch.inference_mode()
    def clip(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute one whole clip, where the model stands: x (T,) -> c and `other`, attention and u (T / interval,
        width)."""
        device = next(self.parameters()).device
        found: NDArray[np.float32] = self.answers(torch.from_numpy(x).to(device)[None])[0].cpu().numpy()
        return found

    def answers(self, x: Tensor) -> Tensor:
        """Compute all results for whole clips: x (B, T) -> c and `other`, attention and u (B, T / interval, width)."""
        if self.voice is None or self.trunk is None:
            return self.read(self.heard(x))
        h, middle = self.trunk.both(self.distiller(x))
        return torch.cat((self.read(h), self.voice.of_interval(middle)), -1)

    def read(self, a: Tensor) -> Tensor:
        """Compute all results of the ACB's input but the voice: a (..., features) -> c, `other`, attention, summary."""
        c, alpha = self.acb(a)
        other = [] if self.other is None else [self.other(a)]
        summary = [] if self.summary is None else [self.summary(a)]
        return torch.cat([c, *other, alpha, *summary], -1)


def mean_of_votes(c: Tensor, voiced: Tensor) -> Tensor:
    """Average c_t over the intervals that vote, unweighted (paper, section 3.3; equation 4 up to its factor).

    c       (B, K, labels)        voiced  (B, K), 1 or 0
    Returns (B, labels); a clip without a voiced interval gets the uniform distribution, which says nothing.
    """
    weight = voiced.to(c.dtype)
    n = weight.sum(1, keepdim=True)
    mean = torch.einsum("bkm,bk->bm", c, weight) / n.clamp(min=1)
    return torch.where(n > 0, mean, torch.full_like(mean, 1 / c.shape[-1]))
