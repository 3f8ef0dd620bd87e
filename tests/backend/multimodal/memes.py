"""Made-up memes whose label needs both sides: a word about day or night, and a warm or a cold picture."""

from __future__ import annotations

import base64
import io
import json
import random
from pathlib import Path

from PIL import Image

LABELS = ("agrees", "differs")
WORDS = (("sun", "noon", "bright"), ("moon", "midnight", "dark"))
FILLERS = ("a", "the", "over", "town", "again", "we", "see", "it", "here")


def meme(number: int) -> tuple[str, str, int]:
    """A text, an image as a data: URL, and which of LABELS; the same for the same number."""
    dice = random.Random(number)
    night, cold = number % 2, number // 2 % 2
    words = [dice.choice(WORDS[night]), *dice.choices(FILLERS, k=4)]
    dice.shuffle(words)
    strong, weak = dice.randrange(170, 256), dice.randrange(0, 60)
    colour = (weak, dice.randrange(60), strong) if cold else (strong, dice.randrange(60), weak)
    picture = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(picture, "PNG")
    data = base64.b64encode(picture.getvalue()).decode("ascii")
    return " ".join(words), f"data:image/png;base64,{data}", night ^ cold


def tiny_vit(folder: Path) -> None:
    """Write a vision transformer of one layer with random weights."""
    import torch
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    sides = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    ViTModel(ViTConfig(image_size=32, patch_size=8, **sides)).save_pretrained(folder)
    processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, "do_resize": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
