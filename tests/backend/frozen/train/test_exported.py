"""Models of ours, in each form that they are exported in, say what they said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.frozen import open_model
from nextlabel.backend.models.export.export import Format, export_model
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import LabelKind
from tests.backend.trained_models import TEXTS, our_probabilities, trained_model


@pytest.mark.parametrize("form", ["nextlabel", "transformers", "onnx"])
@pytest.mark.parametrize("several", [False, True])
def test_whatever_the_form_it_says_the_same(tmp_path: Path, form: Format, several: bool) -> None:
    folder = trained_model(tmp_path / "trained", multi_label=several)
    export_model(folder, tmp_path / "out", form, TEXTS)
    model = open_model(str(tmp_path / "out"), EncoderSpec("", engine="torch", cache_dir=tmp_path), threads=1)
    labeling = model.question.labeling
    assert (labeling.kind, labeling.labels) == (
        LabelKind.MULTI if several else LabelKind.SINGLE,
        ("good", "bad", "neither"),
    )
    found = model.predictions(model.read(TEXTS))
    table = np.array([[one.probabilities[label] for label in labeling.labels] for one in found])
    assert np.abs(table - our_probabilities(folder, tmp_path)).max() < 2e-3
    assert {one.suggestion.model_version for one in found} == {model.version}


def test_a_damaged_export_is_told(tmp_path: Path) -> None:
    export_model(trained_model(tmp_path / "trained"), tmp_path / "out", "onnx", TEXTS)
    (tmp_path / "out" / "model.onnx").write_bytes(b"no model")
    with pytest.raises(LearningError, match="can't be read as an exported model"):
        open_model(str(tmp_path / "out"), EncoderSpec(""))
