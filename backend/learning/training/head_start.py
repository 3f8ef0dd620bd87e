"""Where the linear layer begins: at the probe, so that the encoder is not torn about for a head that knows nothing.

Kumar et al., 2022, "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution",
https://arxiv.org/abs/2202.10054.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nextlabel.backend.learning.probe import Probe
from nextlabel.backend.learning.training.classifying import AnsweredTexts
from nextlabel.backend.learning.training.loop import Watch
from nextlabel.backend.learning.training.texts import text_vectors


def start_head(network: Any, train: AnsweredTexts, device: str, watch: Watch) -> None:
    """Put the probe on the network's own vectors of ``train`` into its linear layer."""
    import torch

    vectors = text_vectors(network, train.texts, device, watch)
    if not np.isfinite(vectors).all():
        return  # an encoder that is broken; the training will say so
    classes = network.head.out_features
    probe = Probe.fit(vectors, train.targets, classes, weights=train.weights, calibrate=False, doubt=False)
    with torch.no_grad():  # the network multiplies unit vectors by the root of their length, a probe doesn't
        network.head.weight.copy_(torch.from_numpy(probe.weights / np.float32(network.dimension**0.5)))
        network.head.bias.copy_(torch.from_numpy(probe.bias))
