"""What a record said and showed leaves the caches of both towers, too, once it is erased."""

from __future__ import annotations

import gc
from functools import partial
from pathlib import Path

from nextlabel.backend.data.image_files import data_url, read_bytes
from nextlabel.backend.data.image_rules import ImageRules
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.encoders.multimodal import TOWERS, MultimodalEncoder
from nextlabel.backend.service.erasing import EMBEDDINGS, ENCODERS, digests_of, remove_vectors
from nextlabel.backend.store import Store
from nextlabel.connectors.content import Readable
from nextlabel.connectors.records import Field, FieldKind, Labeling, LabelKind, Record


def test_vectors_of_an_erased_record_leave_every_cache(clip: Path, pictures: Path, tmp_path: Path) -> None:
    fields = (Field("text"), Field("image", FieldKind.IMAGE))
    labeling, rules = Labeling(LabelKind.SINGLE, ("a", "b"), fields), ImageRules(roots=(pictures,))
    blue = (pictures / "blue.png").read_bytes()
    records = [
        Record("file", {"text": "a bad cab", "image": "red.png"}),
        Record("inside", {"text": "a cab", "image": data_url(blue)}),
        Record("same words", {"text": "a cab", "image": "circle.png"}),
        Record("words", {"text": "a deed", "image": ""}),
    ]
    contents = [labeling.content(one) for one in records]

    def opened() -> MultimodalEncoder:
        encoder = load_encoder(f"clip:{clip}", cache_dir=tmp_path / ENCODERS, threads=1, images=rules)
        assert isinstance(encoder, MultimodalEncoder)
        return encoder

    def kept(folder: Path, known_by: list[Readable]) -> list[bool]:
        found = {path.parent for path in folder.glob("*/keys")}
        caches = [EmbeddingCache(one, *told) for one in found if (told := sizes.get(one.name))]
        return [any(cache.lookup([one])[0] >= 0 for cache in caches) for one in known_by]

    encoder = opened()
    EmbeddingCache.open(tmp_path / EMBEDDINGS, encoder).ensure(contents, encoder)
    towers = (encoder, encoder.text, encoder.image)
    sizes = {one.fingerprint: (one.fingerprint, one.dimension) for one in towers}
    keys = [read_bytes(name, rules).digest for name in ("red.png", "blue.png", "circle.png")]
    alone: list[Readable] = ["a bad cab", "a cab", "a deed", *keys]
    with Store.open(tmp_path / "store.sqlite") as store:
        store.add_records(records)
        store.erase(["file", "inside"], partial(digests_of, labeling, rules))
        removed, busy = remove_vectors(store, labeling, tmp_path)
        assert (removed, len(busy)) == (2, 2), "both towers are open"
        assert kept(tmp_path / ENCODERS / TOWERS, alone) == [True] * 6
        del encoder, towers
        gc.collect()
        assert remove_vectors(store, labeling, tmp_path) == (3, [])
        assert store.erased_digests() == []
    assert kept(tmp_path / EMBEDDINGS, list(contents)) == [False, False, True, True]
    assert kept(tmp_path / ENCODERS / TOWERS, alone) == [False, True, True, False, False, True]
