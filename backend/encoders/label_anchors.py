"""Cold start: predictions before the first label, from what the labels are called.

A label's words go through the same encoder as the texts, and a text is closest to the label that fits it best
(Chang et al., 2008, "Importance of Semantic Representation: Dataless Classification"). The probe takes the vectors
as examples of their classes, and each counts for less the more labelled examples its class has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nextlabel.connectors.records import Labeling

if TYPE_CHECKING:
    from .base import Encoder


def label_anchors(labeling: Labeling, encoder: Encoder) -> npt.NDArray[np.float32]:
    """One unit vector a label, float32 [c, d], in the order of ``labeling.labels``."""
    # Where texts and images share a space, a label's words are compared with both.
    encode = getattr(encoder, "encode_labels", encoder.encode)
    return np.asarray(encode([labeling.describe(label) for label in labeling.labels]), np.float32)
