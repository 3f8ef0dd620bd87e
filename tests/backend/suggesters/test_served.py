"""A model that nextlabel serves alone, heard by another nextlabel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from nextlabel.backend.app import create_model_app
from nextlabel.backend.frozen import FrozenModel
from nextlabel.backend.questions import question_of
from nextlabel.backend.server import BackgroundServer, listen
from nextlabel.backend.serving.served_model import ServedModel
from nextlabel.backend.settings import Settings
from nextlabel.backend.suggesters.endpoint import of_url
from nextlabel.connectors.content import Readable, text_of
from nextlabel.connectors.errors import Unauthorized
from nextlabel.connectors.records import Labeling, LabelKind
from tests.backend.routes.conftest import SECRETS


def shouting(contents: Sequence[Readable]) -> npt.NDArray[np.float32]:
    rude = np.array([0.75 if text_of(one).isupper() else 0.25 for one in contents], np.float32)
    return np.stack([rude, 1 - rude], axis=1)


def test_its_answers_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    model = FrozenModel("shouting-1", question_of(Labeling(LabelKind.SINGLE, ("rude", "fine"))), shouting)
    served, listener = ServedModel(model), listen("127.0.0.1", 0)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    monkeypatch.setenv("TOKEN_OF_IT", SECRETS.api_token)
    with BackgroundServer(create_model_app(served, Settings(), secrets=SECRETS), listener):
        found = of_url(address, "TOKEN_OF_IT", 30)(["GO AWAY", "please stay"])
        assert [dict(one.probabilities) for one in found] == [
            {"rude": 0.75, "fine": 0.25},
            {"rude": 0.25, "fine": 0.75},
        ]
        with pytest.raises(Unauthorized, match="name the variable with its token"):
            of_url(address, "", 30)(["GO AWAY"])
    served.stop()
