"""AttentionCNN, its authors' FreqCNN (Wu, Mao, Yi: "Audio classification using attention-augmented convolutional
neural network", 2018).

Its abstract is what could be read: the spectrogram is split along frequency, convolutions draw features from each
band, and attention strengthens certain bands. The number of bands, layers and filters are ours, for want of
theirs. No count is published to compare with.
"""

import torch
from torch import Tensor, nn

BANDS = 8
FILTERS = (32, 64, 128)


class AttentionCnn(nn.Module):
    def __init__(self, labels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for filters in FILTERS:
            layers += [
                *(nn.Conv2d(channels, filters, 3, padding=1, bias=False), nn.BatchNorm2d(filters)),
                *(nn.ReLU(), nn.MaxPool2d(2)),
            ]
            channels = filters
        self.features = nn.Sequential(*layers)
        self.attention = nn.Sequential(nn.Linear(channels, channels // 2), nn.Tanh())
        self.attention.append(nn.Linear(channels // 2, 1))
        self.classifier = nn.Linear(channels, labels)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (B, labels) of x (B, 1, H, W), H a multiple of 8 x BANDS."""
        b, _, h, w = x.shape
        bands = self.features(x.reshape(b * BANDS, 1, h // BANDS, w)).mean((2, 3)).view(b, BANDS, -1)
        weight = self.attention(bands).softmax(1)
        logits: Tensor = self.classifier(torch.einsum("bkc,bk->bc", bands, weight.squeeze(-1)))
        return logits
