"""A folder means what its library means: forty architectures and forms, each equal to it in every engine or refused.

Equal: the token ids of AutoTokenizer, the vectors of SentenceTransformer to 1e-4 (in 8 bits 0.9 alike, or refused), the
same alone and in a batch.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.encoders import load, onnx
from nextlabel.backend.encoders.base import Engine
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.encoders.model_folder import ModelFolder, read_folder
from nextlabel.backend.encoders.tokenizer import Tokeniser
from nextlabel.connectors.errors import LearningError
from tests.backend.tiny_models import change, dense, letter_tokenizer, modules, saved, tiny_model
from tests.backend.torch_threads import one_torch_thread

LENGTH = 24
TEXTS = [
    "my parcel broke",
    "I",
    "refund " * 30,
    "THE ORDER is late, ok? Ärger",
    "\n" * 3000 + "after many blanks the text",
    "one two three",
]
ALIKE_IN_8_BITS = 0.9
PRECISIONS: dict[Engine, onnx.Precision] = {"onnx": "fp32", "onnx-int8": "int8"}
SEQ: dict[str, Any] = {"d_model": 32}
SEQ |= {f"{side}_{name}": 2 for side in ("encoder", "decoder") for name in ("layers", "attention_heads")}
SEQ |= {"encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
T5: dict[str, Any] = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
DISENTANGLED: dict[str, Any] = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}
EQUAL: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": {},
    "xlm-roberta": {"pad_token_id": 1},
    "xlm-roberta-xl": {},
    "camembert": {},
    "data2vec-text": {},
    "distilbert": {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 2},
    "albert": {"embedding_size": 16},
    "electra": {"embedding_size": 16},
    "mpnet": {},
    "deberta": DISENTANGLED,
    "deberta-v2": {**DISENTANGLED, "position_biased_input": False, "type_vocab_size": 0},
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64},
    "longformer": {"attention_window": 16},
    "big_bird": {},
    "squeezebert": {"embedding_size": 32},
    "roformer": {},
    "megatron-bert": {},
    "mobilebert": {"embedding_size": 32, "intra_bottleneck_size": 32, "true_hidden_size": 32},
    "ernie": {},
    "esm": {"position_embedding_type": "rotary"},
    "ibert": {},
    "rembert": {"input_embedding_size": 16, "output_embedding_size": 16},
    "splinter": {},
    "modernbert": {"global_attn_every_n_layers": 2, "local_attention": 8},
    "nomic_bert": {},
    "eurobert": {},
    "t5": T5,
    "umt5": T5,
    "bart": SEQ,
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2},
    "gpt_neox": {},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "bloom": {"n_layer": 2, "n_head": 2},
    "llama": {},
    "mistral": {"num_key_value_heads": 2},
    "qwen2": {"num_key_value_heads": 2},
    "qwen3": {"head_dim": 16, "num_key_value_heads": 2},
    "gemma3_text": {"head_dim": 16, "num_key_value_heads": 2},
}
BESIDE = "makes another vector of a text beside longer ones than alone"
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    # sentence-transformers takes the encoder out of the whole, and finds none of its weights.
    "pegasus": (SEQ, "lacks weights of the encoder"),
    "fnet": ({}, f"a FNetModel {BESIDE}"),
    "convbert": ({"embedding_size": 32}, f"a ConvBertModel {BESIDE}"),
    "nystromformer": ({}, f"a NystromformerModel {BESIDE}"),
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with one_torch_thread():
        yield


def library(folder: Path) -> Any:
    import torch
    from sentence_transformers import SentenceTransformer

    options = {"dtype": torch.float32}
    made = SentenceTransformer(str(folder), device="cpu", local_files_only=True, model_kwargs=options)
    made.max_seq_length = LENGTH
    return made


def assert_equal(folder: Path, cache: Path, engines: tuple[Engine, ...] = ("torch", "onnx", "onnx-int8")) -> None:
    """Ids and vectors are the library's, in each engine, alone and in a batch."""
    theirs, read = library(folder), read_folder(folder, max_length=LENGTH, cache=cache)
    prompt = theirs.prompts.get(theirs.default_prompt_name) or ""
    ids = [theirs.tokenizer(prompt + text, truncation=True, max_length=LENGTH)["input_ids"] for text in TEXTS]
    assert Tokeniser(read)(TEXTS) == ids
    expected = np.concatenate(
        [theirs.encode([text], normalize_embeddings=True, show_progress_bar=False) for text in TEXTS]
    )
    assert np.abs(expected[0] - expected[2]).max() > 1e-2, "a model that says the same of all texts proves nothing"
    files = exported(read, [PRECISIONS[engine] for engine in engines if engine != "torch"], cache)
    for engine in engines:
        if engine != "torch" and not files[PRECISIONS[engine]]:  # refused, which is a way to be right
            continue
        encoder = load_encoder(str(folder), engine, max_length=LENGTH, cache_dir=cache, threads=1)
        together, alone = encoder.encode(TEXTS), np.concatenate([encoder.encode([text]) for text in TEXTS])
        np.testing.assert_allclose(alone, together, atol=1e-4, err_msg=engine)
        if engine == "onnx-int8":
            assert (together * expected).sum(axis=1).mean() > ALIKE_IN_8_BITS
        else:
            np.testing.assert_allclose(together, expected, atol=1e-4, err_msg=engine)


def exported(folder: ModelFolder, precisions: Sequence[onnx.Precision], cache: Path) -> dict[onnx.Precision, bool]:
    """Make the ONNX files in this process, and say which are there; the others are refused."""
    targets = {precision: onnx.onnx_file(folder, precision, cache) for precision in precisions}
    onnx.export(folder, targets)
    return {precision: target.is_file() for precision, target in targets.items()}


@pytest.mark.parametrize("kind", EQUAL)
def test_an_architecture_is_read_as_its_library_reads_it(kind: str, cache: Path, tmp_path: Path) -> None:
    assert_equal(tiny_model(kind, tmp_path / kind, **EQUAL[kind]), cache)


@pytest.mark.parametrize("kind", REFUSED)
def test_an_architecture_that_cannot_be_used_says_why(kind: str, cache: Path, tmp_path: Path) -> None:
    config, reason = REFUSED[kind]
    with pytest.raises(LearningError, match=reason):
        read_folder(tiny_model(kind, tmp_path / kind, **config), max_length=LENGTH, cache=cache)


def test_a_file_that_takes_a_length_for_constant_is_refused_and_auto_takes_torch(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_model("longformer", tmp_path / "model", **EQUAL["longformer"])
    read = read_folder(folder, max_length=LENGTH, cache=cache)
    assert exported(read, ["fp32", "int8"], cache) == {"fp32": False, "int8": False}
    monkeypatch.setattr(load, "_cuda_available", lambda: False)
    encoder = load_encoder(str(folder), "auto", max_length=LENGTH, cache_dir=cache)
    assert "torch" in encoder.fingerprint
    with pytest.raises(LearningError, match="takes no texts of another length than it was made with"):
        load_encoder(str(folder), "onnx", max_length=LENGTH, cache_dir=cache)


# -- forms of folders --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT whose tokenizer tells capitals from other letters."""
    return tiny_model("bert", tmp_path_factory.mktemp("plain") / "bert", tokenizer=letter_tokenizer(lowercase=False))


def pooled(mode: Any, **options: Any) -> Callable[[Path, Path], Path]:
    return lambda folder, out: saved(folder, out, modules().Pooling(32, mode, **options))


def unprompted(folder: Path, out: Path) -> Path:
    """A prompt that pooling leaves out, as INSTRUCTOR has it."""
    pooling = modules().Pooling(32, "mean", include_prompt=False)
    return saved(folder, out, pooling, prompts={"it": "a query: "}, default_prompt_name="it")


def prompted(folder: Path, out: Path) -> Path:
    return saved(folder, out, prompts={"it": "a query: "}, default_prompt_name="it")


def told(file: str, **settings: Any) -> Callable[[Path, Path], Path]:
    """A copy with other ``settings`` in one of its files."""

    def make(folder: Path, out: Path) -> Path:
        change(Path(shutil.copytree(folder, out)) / file, **settings)
        return out

    return make


def told_library(**settings: Any) -> Callable[[Path, Path], Path]:
    def make(folder: Path, out: Path) -> Path:
        change(saved(folder, out) / "sentence_bert_config.json", **settings)
        return out

    return make


def subfolders(folder: Path, out: Path) -> Path:
    """Each module in a folder of its own, as models of before 2021 are."""
    out.mkdir()
    modules = json.loads((saved(folder, out / "0_Transformer") / "modules.json").read_text())
    for name in ("modules.json", "config_sentence_transformers.json", "1_Pooling"):
        (out / "0_Transformer" / name).rename(out / name)
    modules[0]["path"] = "0_Transformer"
    (out / "modules.json").write_text(json.dumps(modules))
    return out


def half_weights(folder: Path, out: Path) -> Path:
    from safetensors.torch import load_file, save_file

    file = Path(shutil.copytree(folder, out)) / "model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(file).items()}, file, metadata={"format": "pt"})
    change(out / "config.json", dtype="float16")
    return out


def several_files(folder: Path, out: Path) -> Path:
    from transformers import AutoModel, AutoTokenizer

    AutoModel.from_pretrained(folder).save_pretrained(out, max_shard_size="10KB")
    AutoTokenizer.from_pretrained(folder).save_pretrained(out)
    return out


def encoder_alone(folder: Path, out: Path) -> Path:
    """The encoder of a T5, saved without its decoder."""
    from transformers import T5EncoderModel

    whole = tiny_model("t5", out / "whole", **T5)
    T5EncoderModel.from_pretrained(whole).save_pretrained(out / "alone")
    shutil.copy(whole / "tokenizer.json", out / "alone")
    shutil.copy(whole / "tokenizer_config.json", out / "alone")
    return out / "alone"


def generator(folder: Path, out: Path) -> Path:
    """A decoder for generation, without any pooling named: its last token counts."""
    change(tiny_model("qwen3", out, **EQUAL["qwen3"]) / "config.json", architectures=["Qwen3ForCausalLM"])
    return out


FORMS: dict[str, Callable[[Path, Path], Path]] = {
    "cls": pooled("cls"),
    "max": pooled("max"),
    "last token": pooled("lasttoken"),
    "weighted mean": pooled("weightedmean"),
    "mean over the root": pooled("mean_sqrt_len_tokens"),
    "two poolings": pooled(("cls", "mean")),
    "dense layer, norm": dense,
    "prompt": prompted,
    "prompt not pooled": unprompted,
    "lower case by the tokenizer": told("tokenizer_config.json", do_lower_case=True, tokenizer_class="BertTokenizer"),
    "lower case by the library": told_library(do_lower_case=True),
    "cut at the left": told("tokenizer_config.json", truncation_side="left"),
    "folders of modules": subfolders,
    "half precision": half_weights,
    "weights in several files": several_files,
    "an encoder without its decoder": encoder_alone,
    "a decoder for generation": generator,
}


@pytest.mark.parametrize("form", FORMS)
def test_a_form_of_folder_is_read_as_its_library_reads_it(form: str, plain: Path, cache: Path, tmp_path: Path) -> None:
    # What 8 bits do depends on the architecture, not on the form.
    assert_equal(FORMS[form](plain, tmp_path / "model"), cache, ("torch", "onnx"))


def stacked(*kinds: str) -> Callable[[Path, Path], Path]:
    """Modules of which the ones after the pooling are of other ``kinds``."""

    def make(folder: Path, out: Path) -> Path:
        modules = json.loads((saved(folder, out) / "modules.json").read_text())
        modules += [{"idx": 9, "name": "9", "path": f"9_{kind}", "type": kind} for kind in kinds]
        (out / "modules.json").write_text(json.dumps(modules))
        return out

    return make


REFUSED_FORMS: dict[str, tuple[Callable[[Path, Path], Path], str]] = {
    "adapter": (told("adapter_config.json", peft_type="LORA"), r"is an adapter .*merge_and_unload"),
    "code of its own": (
        told("config.json", auto_map={"AutoModel": "own.Model"}),
        r"config\.json wants code of its own",
    ),
    "tokenizer's code": (
        told("tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Tokenizer", None]}),
        r"tokenizer_config\.json wants code of its own",
    ),
    "module's code": (stacked("own.Module"), r"modules\.json wants code of its own run \(own\.Module\)"),
    "another module": (stacked("sentence_transformers.models.CNN"), "needs a 'CNN' module"),
    "chat template": (told("tokenizer_config.json", chat_template="{{ messages[0].content }}"), "chat template"),
    "processing": (told_library(processing_kwargs={"text": {"padding": False}}), "processing_kwargs"),
}


@pytest.mark.parametrize("form", REFUSED_FORMS)
def test_a_form_that_is_not_read_is_refused_by_its_setting(form: str, plain: Path, cache: Path, tmp_path: Path) -> None:
    make, reason = REFUSED_FORMS[form]
    with pytest.raises(LearningError, match=reason):
        load_encoder(str(make(plain, tmp_path / "model")), "torch", max_length=LENGTH, cache_dir=cache)
