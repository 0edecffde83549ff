"""AlexNet for one processor (Krizhevsky: "One weird trick for parallelizing convolutional neural networks", 2014).

Five convolutions and three dense layers; 61,100,840 parameters with 1,000 classes. The mean over a grid of
6 x 6 ahead of the dense layers changes nothing at 224 pixels and lets other sizes in.
"""

from torch import Tensor, nn

GRID = 6


class AlexNet(nn.Module):
    def __init__(self, labels: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
            nn.AdaptiveAvgPool2d(GRID),
        )
        self.classifier = nn.Sequential(
            *(nn.Flatten(), nn.Dropout(0.5), nn.Linear(256 * GRID * GRID, 4096), nn.ReLU()),
            *(nn.Dropout(0.5), nn.Linear(4096, 4096), nn.ReLU()),
            nn.Linear(4096, labels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (B, labels) of pictures x (B, 3, H, W) of 63 pixels or more."""
        logits: Tensor = self.classifier(self.features(x))
        return logits
