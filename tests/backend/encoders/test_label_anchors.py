"""Anchors from label names, through a real (small) encoder."""

from __future__ import annotations

import numpy as np

from nextlabel.backend.encoders.base import label_anchors
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.models.probe import Probe
from nextlabel.connectors.records import Labeling, LabelKind

LABELING = Labeling(LabelKind.SINGLE, ("sports_news", "tech"), descriptions={"tech": "computers and software"})


def test_one_unit_vector_a_label_in_their_order():
    encoder = load_encoder("hashing")
    anchors = label_anchors(LABELING, encoder)
    assert anchors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(anchors, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(anchors, encoder.encode(["sports news", "computers and software"]))


def test_texts_are_told_apart_before_the_first_label():
    encoder = load_encoder("hashing")
    probe = Probe.fit(
        np.empty((0, encoder.dimension), np.float32), np.empty(0, np.int64), 2, anchors=label_anchors(LABELING, encoder)
    )
    texts = ["the latest sports news tonight", "new software for old computers"]
    assert probe.predict_proba(encoder.encode(texts)).argmax(axis=1).tolist() == [0, 1]
