"""The rungs of the model ladder behind one interface: fit on labelled texts, get something that predicts.

``zero-shot``  what the labels are called, and no label at all
``probe``      a linear head on the encoder as it is
``fusion``     for records with images, a head on the vectors of both sides, which stay as they are
``few-shot``   the encoder tuned on pairs of texts, then the head (contrastive; Tunstall et al. 2022)
``fine-tune``  the whole encoder and the head trained together; for records with images, both encoders

Each costs more than the one before, and not every encoder has each: see ``trained_rungs``. ``ladder`` tells which is
worth its price on the labels at hand.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, get_args

from nextlabel.backend.data.examples import Examples
from nextlabel.backend.encoders.base import HASHING, Encoder, EncoderSpec, Engine, FloatMatrix, label_anchors
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.encoders.fusion import is_fused
from nextlabel.backend.encoders.head_names import HEADS
from nextlabel.backend.encoders.load import load
from nextlabel.backend.encoders.model_folder import folder_of, know_trained
from nextlabel.backend.encoders.multimodal import MultimodalEncoder, TowerVectors, is_multimodal, text_side
from nextlabel.backend.models.calibration import Classifier
from nextlabel.backend.models.card import ModelCard
from nextlabel.backend.models.export.folder import lay_out
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.models.saving import HEAD_FILE
from nextlabel.backend.training.fewshot import FewShotTuner
from nextlabel.backend.training.finetune import FineTuner
from nextlabel.backend.training.fusion import choose_head, last_layer, save_fused
from nextlabel.backend.training.spec import (
    EpochFigures,
    ProgressReport,
    RungName,
    TrainedRungName,
    TrainingProgress,
    TrainingSpec,
    Watch,
    never,
    no_report,
)
from nextlabel.backend.training.towers import train_towers
from nextlabel.backend.training.trainer import TextTrainer, split_held_out
from nextlabel.connectors.content import Readable
from nextlabel.connectors.errors import ConfigError, LearningError
from nextlabel.connectors.records import Labeling

RUNGS: tuple[RungName, ...] = get_args(RungName)
"""All rungs, the cheapest first."""
TRAINED: frozenset[RungName] = frozenset(("few-shot", "fine-tune"))
"""Those that change the encoder: with torch, in this process."""


class Fitted(Classifier, Protocol):
    """A classifier that knows how it came about."""

    @property
    def rung(self) -> RungName:
        """The rung that it is of; for ``auto``, the one that was chosen."""
        ...

    @property
    def history(self) -> tuple[EpochFigures, ...]:
        """The epochs of its training; none for what is not trained in epochs."""
        ...


class Rung(Protocol):
    """A way to make a classifier from labelled texts."""

    @property
    def name(self) -> str:
        """Its name on the ladder, or ``auto``."""
        ...

    def fit(self, train: Examples, report: ProgressReport | None = None, *, keep: Path | None = None) -> Fitted:
        """Learn from ``train``. Deterministic for one machine and one ``spec.seed``.

        ``keep``: an empty folder, in which the model is left as we keep models: an encoder, and a head beside it.
        Raises LearningError, also for an encoder that has no folder to be kept with.
        """
        ...


@dataclass(frozen=True)
class Setup:
    """What all rungs of one ladder share. ``cache_dir`` holds embeddings, and a training while it runs."""

    encoder: EncoderSpec
    spec: TrainingSpec
    cache_dir: Path
    descriptions: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def loaded(self) -> Encoder:
        """The encoder as it is, loaded when it is first used."""
        return load(self.encoder)

    @cached_property
    def cache(self) -> EmbeddingCache:
        """The encoder's vectors on disk: rungs, folds and later runs share them."""
        return EmbeddingCache.open(self.cache_dir / "embeddings", self.loaded)

    def vectors(self, texts: Sequence[Readable], report: ProgressReport | None = None) -> FloatMatrix:
        """Unit vectors float32 [n, d] of the encoder as it is; a text is encoded once and for all."""
        began = time.monotonic()

        def tell(done: int, total: int) -> None:
            if report is not None:
                report(TrainingProgress("embedding", done, total, seconds=time.monotonic() - began))

        return self.cache.vectors(texts, self.loaded, tell)

    def anchors(self, train: Examples) -> FloatMatrix:
        """One vector per label, float32 [c, d], from its name or description."""
        return label_anchors(Labeling(train.activation.kind, train.labels, descriptions=self.descriptions), self.loaded)


@dataclass(frozen=True, slots=True)
class Model:
    """A head, and what makes the vectors that it reads: the encoder as it is, or one of its own that was trained."""

    vectors: Callable[[Sequence[Readable]], FloatMatrix]
    head: Probe
    rung: RungName
    history: tuple[EpochFigures, ...] = ()

    def predict_proba(self, texts: Sequence[Readable]) -> FloatMatrix:
        """See Classifier."""
        return self.head.predict_proba(self.vectors(texts))


@dataclass(frozen=True, slots=True)
class ProbeRung:
    """A calibrated linear head on frozen vectors, with the labels' names as a start.

    Zero-shot is the start alone: the label that is closest in meaning. Examples give it the names and nothing else.
    ``strength``: see Probe.fit.
    """

    setup: Setup
    name: RungName = "probe"
    strength: float | None = None

    def fit(self, train: Examples, report: ProgressReport | None = None, *, keep: Path | None = None) -> Model:
        """See Rung."""
        anchors = self.setup.anchors(train)
        learned = train.take([]) if self.name == "zero-shot" else train
        vectors = self.setup.vectors(learned.texts, report)
        probe = Probe.fit(
            vectors,
            learned.targets,
            len(train.labels),
            weights=learned.weights,
            anchors=anchors,
            strength=self.strength,
        )
        if keep is not None:
            self._keep(replace(probe, names=train.labels), keep)
        return Model(self.setup.vectors, probe, self.name)

    def _keep(self, probe: Probe, folder: Path) -> None:
        spec = self.setup.encoder
        if unkeepable(spec.name, self.name):
            raise LearningError(f"the encoder {spec.name} has no folder to be kept with")
        card = ModelCard("", "", self.name, "", spec.name, probe.names, probe.activation)
        lay_out(folder_of(spec), probe, card, folder)
        for link in [path for path in folder.rglob("*") if path.is_symlink()]:
            there = link.resolve()
            link.unlink()
            (shutil.copytree if there.is_dir() else shutil.copyfile)(there, link)


@dataclass(frozen=True, slots=True)
class TrainedRung:
    """A rung that changes the encoder itself, in this process.

    With the engine ``auto`` the result runs on torch, which is loaded by then: making an ONNX file of a model that
    may be thrown away costs more than it saves.
    """

    setup: Setup
    name: RungName

    def fit(self, train: Examples, report: ProgressReport | None = None, *, keep: Path | None = None) -> Model:
        """See Rung."""
        setup = self.setup
        spec = setup.encoder
        # A small number of passes is right for few-shot whatever the labels, so none of them is spent on stopping.
        few = self.name == "few-shot"
        rest, held_out = (train, None) if few else split_held_out(train, setup.spec)
        setup.cache_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="training-", dir=setup.cache_dir) as place:
            folder, scratch = Path(place) / "model", Path(place) / "scratch"
            how: dict[str, Any] = {"scratch": scratch, "report": report or no_report, "stop": never}
            if is_multimodal(spec.name):
                done = train_towers(spec, rest, held_out, setup.spec, folder, **how)
            else:
                tuner: TextTrainer[Any] = FewShotTuner() if few else FineTuner()
                base = folder_of(spec)
                done = tuner.train(base, rest, held_out, setup.spec, folder, **how)
                know_trained(folder, base, setup.spec.pooling_of(base.pooling), Path(place))
            if keep is not None:
                shutil.copytree(folder, keep, dirs_exist_ok=True)
            engine: Engine = "torch" if spec.engine == "auto" else spec.engine
            trained = load(replace(spec, name=str(folder), engine=engine, cache_dir=Path(place)))
            return Model(trained.encode, Probe.load(folder / HEAD_FILE), self.name, tuple(done.history))


@dataclass(frozen=True, slots=True)
class FusedRung:
    """A fusion head on what both sides of a record say, trained in this process: seconds, once they are encoded."""

    setup: Setup
    name: RungName = "fusion"

    def fit(self, train: Examples, report: ProgressReport | None = None, *, keep: Path | None = None) -> Model:
        """See Rung."""
        watch = Watch(report or no_report, never)
        head = choose_head(self._towers(train.texts, report), train, self.setup.spec, watch)
        probe = last_layer(head, len(train))
        if keep is not None:
            setup = self.setup
            save_fused(keep, head, probe, setup.encoder, setup.loaded.fingerprint, watch.seconds)
        return Model(lambda texts: head.fused(self._towers(texts)), probe, self.name, head.history)

    def _towers(self, texts: Sequence[Readable], report: ProgressReport | None = None) -> TowerVectors:
        """What either side says of ``texts``, from the vectors that the other rungs read too."""
        encoder = self.setup.loaded
        assert isinstance(encoder, MultimodalEncoder)  # noqa: S101  # there is no such rung on another
        joined = self.setup.vectors(texts, report)
        return TowerVectors.split(joined, encoder.text.dimension, encoder.image.dimension)


def trained_rungs(encoder: str) -> tuple[TrainedRungName, ...]:
    """The rungs that train something on the encoder of this name, the cheapest first; none where nothing can be."""
    if is_multimodal(encoder):
        return ("fusion",) if text_side(encoder) == HASHING else ("fusion", "fine-tune")
    if encoder == HASHING or is_fused(Path(encoder).expanduser()):
        return ()
    return ("few-shot", "fine-tune")


def auto_rungs(encoder: str) -> tuple[TrainedRungName, ...]:
    """Those of ``trained_rungs`` among which ``auto`` chooses.

    Not the training of two encoders, which has to be asked for by name: it takes minutes to hours, and each image has
    to be encoded anew.
    """
    return ("fusion",) if is_multimodal(encoder) else trained_rungs(encoder)


def unkeepable(encoder: str, rung: str) -> bool:
    """Whether what ``rung`` makes on ``encoder`` can't be left in a folder: a head on an encoder that is in none."""
    in_none = encoder == HASHING or is_multimodal(encoder) or is_fused(Path(encoder).expanduser())
    return in_none and rung not in trained_rungs(encoder)


def no_such_rung(name: str, encoder: str, others: Sequence[str]) -> ConfigError:
    """What is to be raised where ``encoder`` has ``others`` and no rung called ``name``."""
    reason = "has nothing to train"
    if name == "fusion":
        reason = "is not one of texts and images (TEXT+IMAGE, clip:MODEL)"
    elif is_multimodal(encoder):
        few = name == "few-shot"
        reason = "is one of texts and images" if few else f"reads texts by {HASHING}, which has nothing to train"
    choice = " or ".join(filter(None, (", ".join(others[:-1]), others[-1])))
    return ConfigError(f"the encoder {encoder!r} {reason}, so there is no {name}; take {choice}")


def check_images(rung: str, image: str | None) -> None:
    """Raise ConfigError for fusion where records have no column of images."""
    if rung == "fusion" and image is None:
        raise ConfigError(
            "fusion is for records with images, and no column of images is named: give it with --image, or take "
            "another rung"
        )


def check_head(rung: str, encoder: str, head: str) -> None:
    """Raise ConfigError for a ``head`` that isn't installed, or that no rung up to ``rung`` trains; "" is none."""
    if not head:
        return
    with_head = set() if is_multimodal(encoder) else {"few-shot", "fine-tune"} & set(trained_rungs(encoder))
    if not with_head or rung not in ("auto", *with_head):
        raise ConfigError(
            f"{rung} on {encoder} trains no text encoder, nor the head {head}; take few-shot or fine-tune on one"
        )
    HEADS.check(head)


def rungs_for(setup: Setup) -> list[Rung]:
    """The rungs that ``setup`` can climb, the cheapest first."""
    trained = trained_rungs(setup.encoder.name)
    made: list[Rung] = [FusedRung(setup) if name == "fusion" else TrainedRung(setup, name) for name in trained]
    return [ProbeRung(setup, "zero-shot"), ProbeRung(setup), *made]
