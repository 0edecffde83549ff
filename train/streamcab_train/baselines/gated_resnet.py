"""GatedResNet (Zeng, Mao, Peng, Yi: "Spectrogram based multi-task audio classification", 2019).

Its abstract is what could be read: "two multiplied convolutional layers are used to replace two feed-forward
convolution layers in the ResNets". So a block is x + convolution * sigmoid(convolution). Depth and widths are
ResNet18's, for want of theirs, and there is one task. No count is published to compare with.
"""

from torch import Tensor, nn

from streamcab_train.baselines.resnet import ResNet18, shortcut


class GatedBlock(nn.Module):
    """x + a convolution, let through by another."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.body, self.gate = (
            nn.Sequential(
                nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False), nn.BatchNorm2d(filters)
            )
            for _ in range(2)
        )
        self.skip = shortcut(channels, filters, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Compute (B, filters, H / stride, W / stride) from x (B, channels, H, W)."""
        y: Tensor = self.body(x) * self.gate(x).sigmoid() + self.skip(x)
        return y.relu()


class GatedResNet(ResNet18):
    def __init__(self, labels: int) -> None:
        super().__init__(labels, GatedBlock)
