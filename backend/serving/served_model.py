"""One model behind the micro-batcher: what ``nextlabel serve --model`` answers with, and no project anywhere."""

from __future__ import annotations

from collections.abc import Sequence

from nextlabel.backend.frozen import FrozenModel
from nextlabel.backend.questions import Prediction
from nextlabel.connectors.content import says_nothing
from nextlabel.connectors.records import Labeling, Record

from .batcher import MicroBatcher
from .pictures import with_pictures


class ServedModel:
    """Fulfils what routes ask of a model. ``stop`` it; requests that share a moment share a forward pass."""

    def __init__(self, model: FrozenModel) -> None:
        self.model = model
        self._batcher = MicroBatcher(model.read)
        self._batcher.start()

    def stop(self, within_s: float | None = None) -> bool:
        """Finish the running pass; whether that ended in time."""
        return self._batcher.stop(within_s)

    @property
    def labeling(self) -> Labeling:
        """What the model tells apart."""
        return self.model.question.labeling

    @property
    def serving_version(self) -> str:
        """The model's name."""
        return self.model.version

    async def classify(self, records: Sequence[Record]) -> list[Prediction | None]:
        """A prediction for each of ``records``; None for one in which there is nothing to judge."""
        contents = [self.labeling.content(record) for record in records]
        asked = {at: one for at, one in enumerate(contents) if not says_nothing(one)}
        ready, found = await with_pictures(self.model.encoder, asked, self.model.version)
        if ready:
            read = await self._batcher.submit(list(ready.values()))
            found |= dict(zip(ready, self.model.predictions(read), strict=True))
        return [found.get(at) for at in range(len(contents))]
