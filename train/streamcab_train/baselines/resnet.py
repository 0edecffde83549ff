"""ResNet of 18 layers (He et al.: arXiv 1512.03385, Table 1): 11,689,512 parameters with 1,000 classes."""

from collections.abc import Callable

from torch import Tensor, nn

WIDTHS = (64, 128, 256, 512)
"""Of the four stages, of two blocks each; all but the first halve the picture."""


class Block(nn.Module):
    """x + two convolutions; where the shape changes, x goes through a convolution of 1 x 1."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False), nn.BatchNorm2d(filters)),
            nn.ReLU(),
            *(nn.Conv2d(filters, filters, 3, padding=1, bias=False), nn.BatchNorm2d(filters)),
        )
        self.skip = shortcut(channels, filters, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Compute (B, filters, H / stride, W / stride) from x (B, channels, H, W)."""
        y: Tensor = self.body(x) + self.skip(x)
        return y.relu()


class ResNet18(nn.Module):
    """`block` makes one from channels, filters and stride: GatedResNet differs in nothing else."""

    def __init__(self, labels: int, block: Callable[[int, int, int], nn.Module] = Block) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *(nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(64), nn.ReLU()),
            nn.MaxPool2d(3, 2, padding=1),
        )
        blocks = []
        channels = 64
        for filters in WIDTHS:
            blocks += [block(channels, filters, 1 if filters == channels else 2), block(filters, filters, 1)]
            channels = filters
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels, labels)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (B, labels) of pictures x (B, 3, H, W)."""
        logits: Tensor = self.classifier(self.blocks(self.stem(x)).mean((2, 3)))
        return logits


def shortcut(channels: int, filters: int, stride: int) -> nn.Module:
    """Make the way past a block."""
    if channels == filters and stride == 1:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(channels, filters, 1, stride, bias=False), nn.BatchNorm2d(filters))
