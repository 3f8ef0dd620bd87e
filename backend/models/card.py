"""A model card: where a trained model comes from, what it was measured at, and by what. JSON, and a page to read."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from nextlabel.backend.activation import Activation, activation_in
from nextlabel.backend.data.examples import Examples
from nextlabel.backend.files import write_atomically
from nextlabel.backend.intervals import wilson_interval
from nextlabel.connectors.content import Readable, as_json
from nextlabel.connectors.errors import LearningError

from .probe import CARD_FILE
from .saving import TRAINING_FILE

JobKind: TypeAlias = Literal["few-shot", "fine-tune", "fusion", "spans"]
"""What is trained, and how; trained models are named after it."""
PAGE_FILE = "README.md"
FORMAT = 1
DIGEST_BYTES = 16
LIBRARIES = ("nextlabel", "torch", "transformers", "tokenizers", "safetensors", "numpy")


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure with its 95% interval. ``measured_on``: ``held-out`` or ``audit``. ``n`` texts."""

    name: str
    value: float
    low: float
    high: float
    n: int
    measured_on: str

    def __str__(self) -> str:
        return f"{self.name} {self.value:.3f} [{self.low:.3f}, {self.high:.3f}] ({self.measured_on}, n = {self.n:,})"


SLIPS = "slips"
"""In a model's row: which answers of the audit slice it takes for slips, and whose they are."""
AUDIT, HELD_OUT = "audit_", "reserved_"
"""How the names of figures begin: on the audit slice, which was answered blind, and on answers from before we came.

What trained models are judged on by their gate is held out too, and called ``held_out_`` there."""


def measured(metrics: Mapping[str, Any], kind: str) -> dict[str, float]:
    """The figures of one kind, AUDIT or HELD_OUT, by their plain names."""
    return {name.removeprefix(kind): value for name, value in metrics.items() if name.startswith(kind)}


def audit_figures(metrics: Mapping[str, Any], kind: str = AUDIT) -> tuple[Figure, ...]:
    """The accuracy on the audit slice in a model's row of the store; nothing where it has none that can be read.

    Or of another ``kind``. The interval follows from the two numbers that every row has: those of trained models were
    kept without bounds.
    """
    size, value = (number_in(metrics, f"{kind}{name}") for name in ("n", "accuracy"))
    if not (size >= 1 and 0 <= value <= 1):
        return ()
    return (Figure("accuracy", value, *wilson_interval(value * size, size), int(size), "audit"),)


def number_in(metrics: Mapping[str, Any], name: str) -> float:
    """A number in a model's row of the store; nan where there is none, or something else."""
    value = metrics.get(name)
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else math.nan


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Everything worth knowing about one trained model.

    ``version`` is empty until the registry gives one. ``created`` is ISO 8601 in UTC. ``base``: the encoder that the
    line of models started from; ``parent``: the version whose weights this training started from, empty for the base.
    ``data_hash``: see data_hash(). ``counts``: training texts per label. ``measured``: how held-out texts were chosen.
    A text is read in up to ``windows`` windows of ``max_length`` tokens. ``spec``: the training section of the
    recipe. ``files``: digest of every file of the model. ``licence`` is the user's to fill in.
    """

    version: str
    project: str
    rung: str
    created: str
    base: str
    labels: tuple[str, ...]
    activation: Activation
    parent: str = ""
    data_hash: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
    measured: str = ""
    temperature: float = 1.0
    max_length: int = 0
    windows: int = 1
    spec: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    libraries: Mapping[str, str] = field(default_factory=dict)
    device: str = ""
    seconds: float = 0.0
    licence: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write card.json and README.md into ``folder``."""
        data: dict[str, Any] = {"format": FORMAT}
        for name, value in asdict(self).items():
            data |= value.header if name == "activation" else {name: value}
        write_atomically(folder / CARD_FILE, (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode())
        write_atomically(folder / PAGE_FILE, self.page().encode())

    @classmethod
    def load(cls, folder: Path) -> ModelCard:
        """Read card.json in ``folder``. Raises LearningError if it is not there or not a card."""
        file = folder / CARD_FILE
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
            if data["format"] != FORMAT:
                raise LearningError(f"{file} has format {data['format']}, this nextlabel reads {FORMAT}; upgrade it")
            data["activation"] = activation_in(data)
            known = {part.name: data[part.name] for part in fields(cls) if part.name in data}
            known["figures"] = tuple(Figure(**figure) for figure in known.get("figures", ()))
            known["labels"], known["seeds"] = tuple(known["labels"]), tuple(known.get("seeds", ()))
            return cls(**known)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise LearningError(f"{file} can't be read as a model card: {error}") from error

    def page(self, usage: str = "", note: str = "") -> str:
        """The card as Hugging Face shows one: Markdown with a YAML head. ``usage`` is Python; ``note`` a remark."""
        import yaml
        from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

        made = Environment(
            loader=PackageLoader(__package__),
            autoescape=select_autoescape(),  # Markdown stays as it is
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        made.filters["code"] = _code
        name = f"{self.project} {self.version}".strip() or "text classifier"
        page = made.get_template("card.md").render(
            card=self,
            name=name,
            head=yaml.safe_dump(_head(self, name), sort_keys=False, allow_unicode=True).rstrip(),
            usage=usage,
            note=note,
            facts=_facts(self),
            rare=[label for label, count in self.counts.items() if count < 20],
        )
        return page.rstrip() + "\n"


def data_hash(examples: Examples) -> str:
    """See ``hash_of``: of texts with their labels."""
    answers = [sorted(examples.labels[i] for i in np.flatnonzero(row)) for row in examples.flags]
    return hash_of(examples.texts, answers)


def hash_of(texts: Sequence[Readable], answers: Sequence[Any]) -> str:
    """32 hex digits of ``texts`` with their answers (as JSON), the same in whatever order they come."""
    digests = sorted(
        hashlib.blake2b(json.dumps([text, answer], default=as_json).encode(), digest_size=DIGEST_BYTES).digest()
        for text, answer in zip(texts, answers, strict=True)
    )
    return hashlib.blake2b(b"".join(digests), digest_size=DIGEST_BYTES).hexdigest()


def label_counts(examples: Examples) -> dict[str, int]:
    """How many texts have each label."""
    return {label: int(count) for label, count in zip(examples.labels, examples.flags.sum(axis=0), strict=True)}


def library_versions() -> dict[str, str]:
    """Versions of what a model is made with, as far as installed."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def read_or_make_card(folder: Path, labels: tuple[str, ...], activation: Activation) -> ModelCard:
    """The card in ``folder``, or, for a model that was trained outside a registry, one with the least."""
    if (folder / CARD_FILE).is_file():
        return ModelCard.load(folder)
    try:
        windows = int(json.loads((folder / TRAINING_FILE).read_text(encoding="utf-8")).get("windows", 1))
    except (OSError, ValueError, TypeError, AttributeError):
        windows = 1
    return ModelCard(folder.name, "", "", "", "", labels, activation, windows=windows)


def _head(card: ModelCard, name: str) -> dict[str, Any]:
    """What stands above the page, for the hub."""
    task = "token-classification" if card.rung == "spans" else "text-classification"
    head: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": task}
    head["tags"] = [task, "nextlabel", *([card.rung] if card.rung else [])]
    if card.licence:
        head["license"] = card.licence
    if card.base.count("/") == 1 and not card.base.startswith((".", "/")):  # a name on the hub, not somebody's folder
        head["base_model"] = card.base
    if card.figures:
        project = card.project or "own"
        results = [
            {
                "task": {"type": task},
                "dataset": {"name": project, "type": project, "split": figure.measured_on},
                "metrics": [{"type": figure.name, "value": round(figure.value, 4), "name": str(figure)}],
            }
            for figure in card.figures
        ]
        head["model-index"] = [{"name": name, "results": results}]
    return head


def _facts(card: ModelCard) -> dict[str, str]:
    """How it was trained; empty is what is not known."""
    length = f"{card.max_length} tokens" if card.windows == 1 else f"{card.windows} windows of {card.max_length} tokens"
    return {
        "made": card.created,
        "how": card.rung,
        "started from": card.parent or card.base,
        "base encoder": card.base,
        "seconds": f"{card.seconds:,.0f} on {card.device}" if card.device else "",
        "longest text": f"{length}; what is beyond is cut off" if card.max_length else "",
        "temperature": f"{card.temperature:.4g}",
        "seeds": ", ".join(map(str, card.seeds)),
        "hash of the labelled texts": card.data_hash,
        "versions": ", ".join(f"{name} {version}" for name, version in card.libraries.items()),
        "settings": ", ".join(f"{name} {value}" for name, value in card.spec.items()),
    }


def _code(label: str) -> str:
    plain = " ".join(label.split()).replace("|", "/").replace("`", "'")
    return f"`{plain}`"
