"""The nets that the paper compares itself with (section 4), written from their own papers.

Each takes pictures of spectrograms (B, channels, size, size) and gives logits (B, labels). Other sizes than
the paper's are taken too, for tests and for machines without a GPU. Knows nothing of audio or of training.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from streamcab_train.baselines.alexnet import AlexNet
from streamcab_train.baselines.attention_cnn import AttentionCnn
from streamcab_train.baselines.gated_resnet import GatedResNet
from streamcab_train.baselines.resnet import ResNet18
from streamcab_train.baselines.vgg import Vgg11


@dataclass(frozen=True)
class Baseline:
    """build(labels) makes the net; size and channels of its pictures, as the paper gives them."""

    build: Callable[[int], nn.Module]
    size: int
    channels: int


BASELINES = {
    "GatedResNet": Baseline(GatedResNet, 256, 3),
    "AlexNet": Baseline(AlexNet, 256, 3),
    "VGG11-A": Baseline(Vgg11, 224, 3),
    "ResNet18": Baseline(ResNet18, 224, 3),
    "AttentionCNN": Baseline(AttentionCnn, 256, 1),
}
"""In the order of the paper's Table 3."""
