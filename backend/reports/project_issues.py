"""What is doubtful about a project's answers, from its store and with the recipe's own encoder; nothing is written.

An encoder that was trained in the project has learned from the answers: what is predicted from its vectors would agree
with them. So the recipe's own one is used, by heads that are fitted here and thrown away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nextlabel.backend.annotators.names import annotator_names
from nextlabel.backend.encoders.base import Encoder, label_anchors
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.issues import Issue, Issues, find_issues, material_of
from nextlabel.backend.issues.material import Watch, as_shown
from nextlabel.backend.loop.marks import fitted
from nextlabel.backend.questions import is_settled, question_of
from nextlabel.backend.queue.asked import AskedAgain, asked_again
from nextlabel.backend.retraining.embedding_space import OWN, EmbeddingSpace
from nextlabel.backend.store import Store, StoredRecord
from nextlabel.connectors.content import says_nothing
from nextlabel.connectors.errors import ConfigError
from nextlabel.connectors.records import Labeling


@dataclass(frozen=True, slots=True)
class ProjectIssues:
    """What was ``found``, the record behind each of its n ``items``, and what came of asking again.

    ``names``: of annotators, by the platform's ids. ``settled``: records with an answer that is the truth for good.
    """

    found: Issues
    items: tuple[StoredRecord, ...]
    labeling: Labeling
    names: Mapping[str, str]
    again: AskedAgain
    settled: frozenset[int] = frozenset()

    def to_json(self, top: int | None = None) -> dict[str, Any]:
        """Plain values, the worst first."""
        issues = [self._issue(one) for one in self.found.worst(top)]
        plain = self.found.to_json(issues, self._record)
        people = [{**one, "name": self.names.get(one["name"], one["name"])} for one in plain["by_annotator"]]
        return {**plain, "by_annotator": people, "asked_again": self.again.to_json()}

    def _issue(self, one: Issue) -> dict[str, Any]:
        cell, item = self.found.material.question.in_a_cell, self.items[one.answer.record]
        return {
            "uid": item.record.uid,
            "annotator": self.names.get(one.answer.annotator, one.answer.annotator),
            "given": cell(one.answer.value),
            "suggested": cell(one.suggested),
            "score": one.score,
            "likely": one.likely,
            "audit": item.audit,
            **self._shown(item),
        }

    def _record(self, record: int) -> dict[str, Any]:
        item = self.items[record]
        return {"uid": item.record.uid, **self._shown(item)}

    def _shown(self, item: StoredRecord) -> dict[str, Any]:
        return as_shown(self.labeling.content(item.record))

    def given_by(self, name: str) -> ProjectIssues:
        """The same with one annotator's answers alone. Raises ConfigError if nobody of that ``name`` answered."""
        people = {self.names.get(one.name, one.name): one.name for one in self.found.by_annotator}
        if name not in people:
            raise ConfigError(f"nobody called {name!r} has answered; there are {', '.join(sorted(people))}")
        return replace(self, found=self.found.given_by(people[name]))

    def to_send(self, top: int | None = None) -> dict[str, int]:
        """Uid -> how many people have answered it, of the records to ask about again, the worst first.

        Those are the records of likely errors (or of the ``top`` worst answers), then near copies with different
        answers; but for those that are settled for good.
        """
        wanted = [one.answer.record for one in self.found.worst(top)]
        wanted += [record for one in self.found.duplicates for record in one.records]
        wanted = [at for at in wanted if at not in self.settled]
        people = np.bincount(self.found.material.answered, minlength=len(self.items))
        return {self.items[at].record.uid: int(people[at]) for at in dict.fromkeys(wanted)}


def project_issues(
    store: Store, labeling: Labeling, encoder: Encoder, cache: EmbeddingCache, watch: Watch | None = None
) -> ProjectIssues:
    """Look through everybody's current answers; texts whose vectors are not cached yet are encoded and cached.

    Models learn from what the loop learns from: answers to the audit slice, and what is held out, are judged and not
    learned. Raises ConfigError without an answer, LearningError where they are too few, MissingExtra (cleanlab).
    """
    question = question_of(labeling)
    touched, _ = fitted(store, question, store.touched(0))
    items = [
        item for item in store.get_remote(list(touched)).values() if not item.gone and touched[item.remote_id or ""]
    ]
    items = sorted(
        (item for item in items if not says_nothing(labeling.content(item.record))), key=lambda item: item.position
    )
    if not items:
        raise ConfigError("no record has a label yet, so there is nothing to doubt; label some and try again")
    given = [touched[item.remote_id or ""] for item in items]
    texts = [labeling.content(item.record) for item in items]
    space = EmbeddingSpace(OWN, encoder, cache, label_anchors(labeling, encoder))
    learned = np.array([not (item.audit or item.held_out) for item in items])
    material, kept = material_of(question, space, texts, given, learned=learned)
    found = find_issues(material, watch=watch)
    return ProjectIssues(
        found,
        tuple(items[at] for at in kept.tolist()),
        labeling,
        annotator_names(store),
        asked_again(store, question),
        frozenset(place for place, at in enumerate(kept.tolist()) if is_settled(given[at])),
    )
