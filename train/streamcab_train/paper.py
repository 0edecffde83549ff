"""The paper's results (arXiv 2006.09815, Tables 3, 4 and 7) and its training settings (section 4): constants only.

Measured on UT-Podcast, with the same speakers in training and test. The corpus is not public.
"""

from streamcab_train.recipe_keys import ModelKeys, TrainingKeys

MODEL = ModelKeys(normaliser="clip", gate=False)
"""Table 2; the normaliser uses the same part of a clip as the network, and every interval votes."""
TRAINING = TrainingKeys()
"""Adam, batches of 128, the first T seconds, patience 15; T and the seed are set for each run."""
SECONDS = (5, 10, 30, 60)
"""T of the paper's Table 4."""
REPEATS = 8

BEST = {
    "GatedResNet": (0.7939, 0.7487, 0.7557),
    "AlexNet": (0.6793, 0.6115, 0.6152),
    "VGG11-A": (0.8645, 0.8244, 0.8331),
    "ResNet18": (0.8015, 0.7424, 0.7512),
    "AttentionCNN": (0.8626, 0.8257, 0.8330),
    "CAB-CNN-5s": (0.9198, 0.8953, 0.9092),
    "CAB-CNN-10s": (0.9542, 0.9383, 0.9475),
    "CAB-CNN-30s": (0.9599, 0.9424, 0.9523),
    "CAB-CNN-60s": (0.9466, 0.9228, 0.9356),
}
"""Accuracy, UAR and macro F1 of the best of eight runs."""
MEAN = {
    "GatedResNet": (0.6594, 0.5854, 0.5686),
    "AlexNet": (0.5795, 0.5590, 0.4793),
    "VGG11-A": (0.6527, 0.6227, 0.6330),
    "ResNet18": (0.7950, 0.7373, 0.6908),
    "AttentionCNN": (0.7410, 0.6012, 0.4794),
    "CAB-CNN-30s": (0.9370, 0.9163, 0.9282),
}
"""Their means, where the paper has them."""
