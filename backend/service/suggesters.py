"""The suggesters of a recipe: opened, noted as the project's, and asked which records of the data are taken in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from nextlabel.backend.data.image_rules import ImageRules
from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.pool.voices import filter_key, note_suggesters
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.settings import Settings
from nextlabel.backend.store import Store
from nextlabel.backend.suggesters import Suggester, SuggesterSpec, Surroundings, content_keys, open_suggesters
from nextlabel.connectors.basics import batched
from nextlabel.connectors.records import Record

FILTERED_AT_ONCE = 256
"""Records of which is asked together whether they are taken in: what was said of them is kept if somebody stops us."""


def open_for(recipe: Recipe, settings: Settings, store: Store, *, filters_only: bool = False) -> list[Suggester]:
    """The suggesters of ``recipe``, or those that choose records. Raises ConfigError, LearningError, MissingExtra."""
    specs = [one for one in recipe.suggest_from if one.only or not filters_only]
    if not specs:
        return []

    def predicted(spec: SuggesterSpec) -> dict[str, tuple[str, str]]:
        found = recipe.predictions(spec)
        _forget_if_changed(store, spec, found)
        return found

    encoder = EncoderSpec("", images=ImageRules.of((), "", settings.image_hosts), cache_dir=settings.home / "encoders")
    around = Surroundings(encoder, predicted, settings.thread_count(), recipe.folder)
    return open_suggesters(specs, recipe.labeling(), around)


def _forget_if_changed(store: Store, spec: SuggesterSpec, found: dict[str, tuple[str, str]]) -> None:
    """Predictions in a column that were corrected since the last start are read anew."""
    if not found:
        return
    digest = hashlib.blake2b(repr(sorted(found.items())).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    noted = f"predictions {spec.key()}"
    if store.get_meta(noted) not in (None, digest):
        store.forget_proposals({one for one in store.suggesters() if one.partition(" ")[0] == spec.key()})
    store.set_meta(noted, digest)


def note(store: Store, suggesters: Sequence[Suggester]) -> None:
    """These are the project's."""
    note_suggesters(store, {one.name: one.key for one in suggesters})


def chosen(records: Iterator[Record], suggesters: Sequence[Suggester], store: Store) -> Iterator[Record]:
    """Those of ``records`` that all suggesters which choose want. What was asked before is not asked again."""
    for one in suggesters:
        if one.required is not None:
            records = _chosen(records, one, store)
    yield from records


def _chosen(records: Iterator[Record], one: Suggester, store: Store) -> Iterator[Record]:
    key = filter_key(one.key, one.required or ())
    for batch in batched(records, FILTERED_AT_ONCE):
        contents = content_keys(one.labeling, batch)
        kept = store.proposals(key, contents)
        new = {content: record for content, record in zip(contents, batch, strict=True) if content not in kept}
        if new:
            wanted, said = one.keeps(list(new.values()))
            store.note_proposals(
                one.key, {at: None if p is None else p.to_json() for at, p in zip(new, said, strict=True)}
            )
            decided = dict(zip(new, wanted, strict=True))
            store.note_proposals(key, decided)
            kept |= decided
        yield from (record for content, record in zip(contents, batch, strict=True) if kept[content])
