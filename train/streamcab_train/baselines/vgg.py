"""VGG, configuration A (Simonyan, Zisserman: arXiv 1409.1556, Table 1): eight convolutions, three dense layers.

132,863,336 parameters with 1,000 classes. Weights start as He et al. (arXiv 1502.01852) have it, since the
paper's own start of random numbers of one width is known to stall.
"""

from torch import Tensor, nn

CONFIGURATION_A = ((64,), (128,), (256, 256), (512, 512), (512, 512))
"""Filters of each convolution; after each group the maximum of 2 x 2."""
GRID = 7


class Vgg11(nn.Module):
    def __init__(self, labels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for group in CONFIGURATION_A:
            for filters in group:
                layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU()]
                channels = filters
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(GRID))
        self.classifier = nn.Sequential(
            *(nn.Flatten(), nn.Linear(512 * GRID * GRID, 4096), nn.ReLU(), nn.Dropout(0.5)),
            *(nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(0.5)),
            nn.Linear(4096, labels),
        )
        for layer in self.features:
            if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (B, labels) of pictures x (B, 3, H, W) of 32 pixels or more."""
        logits: Tensor = self.classifier(self.features(x))
        return logits
