"""Small models with random weights, and drawn images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of two layers a side, as transformers saves it, with tokenizer and image processor."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPConfig, CLIPModel

    folder = tmp_path_factory.mktemp("clip")
    words = [
        "<pad>",
        "<unk>",
        "<start>",
        "<end>",
        *"abcdefghijklmnopqrstuvwxyz",
        *(f"##{c}" for c in "abcdefghijklmnop"),
    ]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("<end>", 3), ("<start>", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": "<end>"}'
    )
    side = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**side, "vocab_size": len(words), "max_position_embeddings": 20}
    text |= {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    torch.manual_seed(0)
    config = CLIPConfig(text_config=text, vision_config={**side, "image_size": 32, "patch_size": 8}, projection_dim=16)
    CLIPModel(config).save_pretrained(folder)
    processor: dict[str, Any] = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 32}}
    processor |= {"crop_size": {"height": 32, "width": 32}, "do_resize": True, "do_center_crop": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with red.png, blue.png, circle.png, and broken.png, which is cut off."""
    folder = tmp_path_factory.mktemp("pictures")
    for colour in ("red", "blue"):
        Image.new("RGB", (60, 40), colour).save(folder / f"{colour}.png")
    image = Image.new("RGB", (60, 40), "white")
    ImageDraw.Draw(image).ellipse((10, 5, 40, 35), fill="green")
    image.save(folder / "circle.png")
    (folder / "broken.png").write_bytes((folder / "circle.png").read_bytes()[:60])
    return folder
