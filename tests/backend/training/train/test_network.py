"""The network: what is saved is what was trained, padding changes nothing, and no row of the table is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.activation import SOFTMAX
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.encoders.model_folder import ModelFolder, know_trained, read_folder
from nextlabel.backend.encoders.network import make_pooler
from nextlabel.backend.encoders.reading import is_known
from nextlabel.backend.encoders.tokenizer import Tokeniser, pad
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.models.saving import head_of, save_encoder, save_head
from nextlabel.backend.training.classifier import Vocabulary, text_classifier
from nextlabel.backend.training.loop import parameter_groups
from nextlabel.backend.training.spec import PoolingName, TrainingSpec
from nextlabel.connectors.errors import LearningError

POOLINGS: tuple[PoolingName, ...] = ("mean", "cls", "max", "attention", "bilstm")
TEXTS = ["a", "hello there", "", "nothing but words and more words and still more", "zz y x"]


def network(tiny: ModelFolder, pooling: PoolingName) -> Any:
    """A classifier with three labels; nothing in it is zero."""
    import torch

    torch.manual_seed(1)
    made = text_classifier(tiny, TrainingSpec(pooling=pooling), 3)
    with torch.no_grad():
        for parameter in [*made.pooler.parameters(), *made.head.parameters()]:
            parameter.normal_(std=0.3)
    return made.eval()


def logits(made: Any, tiny: ModelFolder, scratch: Path, texts: list[str]) -> Any:
    import torch

    with torch.no_grad():
        return made(*(torch.from_numpy(part) for part in pad(Tokeniser(tiny)(texts)))).numpy()


def saved(made: Any, tiny: ModelFolder, folder: Path) -> Path:
    save_encoder(folder, made, tiny)
    save_head(folder, head_of(made, activation=SOFTMAX, temperature=1.0, labels=5), ("x", "y", "z"), {})
    return folder


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("engine", ["torch", "onnx"])
def test_the_folder_says_what_the_network_says(
    tiny: ModelFolder, tmp_path: Path, pooling: PoolingName, engine: Any
) -> None:
    made = network(tiny, pooling)
    expected = SOFTMAX.probabilities(logits(made, tiny, tmp_path, TEXTS))
    folder = saved(made, tiny, tmp_path / "model")
    encoder = load_encoder(str(folder), engine, cache_dir=tmp_path / "cache", threads=1)
    got = Probe.load(folder / "head.safetensors").predict_proba(encoder.encode(TEXTS))
    np.testing.assert_allclose(got, expected, atol=1e-4)
    assert np.ptp(expected, axis=0).max() > 0.1, "all texts get the same answer, which any folder would give"
    assert encoder.dimension == (512 if pooling == "bilstm" else 32)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_what_is_known_of_a_trained_model_is_what_is_found_out(
    tiny: ModelFolder, tmp_path: Path, pooling: PoolingName
) -> None:
    base = replace(tiny, max_length=24, prompt="about: ")
    folder = saved(network(base, pooling), base, tmp_path / "model")
    found = read_folder(folder, cache=tmp_path / "found")
    know_trained(folder, base, pooling, tmp_path / "known")
    assert is_known(folder, tmp_path / "known")
    known = read_folder(folder, cache=tmp_path / "known")
    assert known.reading == found.reading
    assert known.tokenizer.read_bytes() == found.tokenizer.read_bytes()
    assert (known.max_length, known.prompt, known.pooling) == (24, "about: ", pooling)


@pytest.mark.parametrize("pooling", ["attention", "bilstm"])
def test_a_learned_pooling_works_in_8_bits(tiny: ModelFolder, tmp_path: Path, pooling: PoolingName) -> None:
    folder = saved(network(tiny, pooling), tiny, tmp_path / "model")
    plain, small = (
        load_encoder(str(folder), engine, cache_dir=tmp_path, threads=1).encode(TEXTS)
        for engine in ("onnx", "onnx-int8")
    )
    assert (plain * small).sum(axis=1).min() > 0.95


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_sentence_transformers_reads_the_folder(tiny: ModelFolder, tmp_path: Path, pooling: PoolingName) -> None:
    from sentence_transformers import SentenceTransformer

    folder = saved(network(tiny, pooling), tiny, tmp_path / "model")
    theirs = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    ours = load_encoder(str(folder), "torch", cache_dir=tmp_path).encode(TEXTS)
    np.testing.assert_allclose(theirs.encode(TEXTS, show_progress_bar=False), ours, atol=1e-5)
    assert theirs.max_seq_length == tiny.max_length


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "attention", "bilstm"])
def test_what_stands_in_the_padding_does_not_matter(pooling: Any) -> None:
    import torch

    torch.manual_seed(2)
    pooler = make_pooler(pooling, 8)
    for parameter in pooler.parameters():
        torch.nn.init.normal_(parameter)
    hidden = torch.randn(3, 6, 8)
    mask = (torch.arange(6) < torch.tensor([[6], [3], [1]])).long()
    other = torch.where(mask.bool().unsqueeze(-1), hidden, torch.full_like(hidden, 7.0))
    with torch.no_grad():
        together = pooler(hidden, mask)
        torch.testing.assert_close(pooler(other, mask), together)
        for row, length in enumerate((6, 3, 1)):
            alone = pooler(hidden[row : row + 1, :length], mask[row : row + 1, :length])
            torch.testing.assert_close(alone[0], together[row])


def test_bilstm_is_torchs_own_on_a_text_without_padding() -> None:
    import torch

    torch.manual_seed(3)
    pooler, both = make_pooler("bilstm", 8), torch.nn.LSTM(8, 256, batch_first=True, bidirectional=True)
    state = dict(pooler.forwards.state_dict())
    state |= {f"{name}_reverse": tensor for name, tensor in pooler.backwards.state_dict().items()}
    both.load_state_dict(state)
    hidden = torch.randn(2, 5, 8)
    with torch.no_grad():
        expected = both(hidden)[0].mean(dim=1)
        torch.testing.assert_close(pooler(hidden, torch.ones(2, 5, dtype=torch.long)), expected)


def test_attention_starts_as_the_mean() -> None:
    import torch

    hidden, mask = torch.randn(2, 4, 8), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    torch.testing.assert_close(make_pooler("attention", 8)(hidden, mask), make_pooler("mean", 8)(hidden, mask))


def test_a_trained_folder_is_a_start_for_the_next_training(tiny: ModelFolder, tmp_path: Path) -> None:
    made = network(tiny, "attention")
    base = read_folder(saved(made, tiny, tmp_path / "first"))
    again = text_classifier(base, TrainingSpec(), 3)
    assert again.pooling == "attention"
    assert (again.pooler.query == made.pooler.query).all()


def test_the_model_of_another_pooler_gets_another_fingerprint(tiny: ModelFolder, tmp_path: Path) -> None:
    import torch

    made = network(tiny, "attention")
    first = read_folder(saved(made, tiny, tmp_path / "first")).fingerprint(tmp_path, "torch")
    with torch.no_grad():
        made.pooler.query += 1
    assert read_folder(saved(made, tiny, tmp_path / "second")).fingerprint(tmp_path, "torch") != first


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("nextlabel.json", b'{"pooling": "sum"}', "'sum' is unknown"),
        ("nextlabel.json", b"no json", "can't be read as JSON"),
        ("pooler.safetensors", b"rubbish", "can't be read as attention"),
        ("pooler.safetensors", None, "there is no pooler.safetensors"),
    ],
)
def test_a_broken_learned_pooling_is_named(
    tiny: ModelFolder, tmp_path: Path, file: str, content: bytes | None, says: str
) -> None:
    folder = saved(network(tiny, "attention"), tiny, tmp_path / "model")
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(LearningError, match=says):
        load_encoder(str(folder), "torch", cache_dir=tmp_path)


def test_prompt_and_length_of_the_encoder_are_kept(tiny: ModelFolder, tmp_path: Path) -> None:
    base = read_folder(tiny.path, max_length=12, prompt="a b ")
    folder = read_folder(saved(network(base, "mean"), base, tmp_path / "model"))
    assert (folder.max_length, folder.prompt) == (12, "a b ")


def test_the_smaller_table_gives_the_same_and_goes_back_whole(tiny: ModelFolder, tmp_path: Path) -> None:
    import torch

    made, rows = network(tiny, "mean"), Tokeniser(tiny)(TEXTS)
    before, table = logits(made, tiny, tmp_path, TEXTS), made.body.get_input_embeddings().weight.detach().clone()
    vocabulary = Vocabulary(made.body, rows)
    assert len(made.body.get_input_embeddings().weight) < len(table)
    narrow = pad(rows)
    with torch.no_grad():
        np.testing.assert_array_equal(made(*map(torch.from_numpy, narrow)).numpy(), before)
        made.body.get_input_embeddings().weight += 1
    vocabulary.widen()
    used = sorted({*range(16), *(token for row in rows for token in row)})
    expected = table.clone()
    expected[used] += 1
    assert (made.body.get_input_embeddings().weight == expected).all()


def test_every_parameter_is_in_one_group_and_norms_do_not_decay(tiny: ModelFolder) -> None:
    made = network(tiny, "bilstm")
    spec = TrainingSpec(learning_rate=1e-4, head_learning_rate=1e-3, weight_decay=0.1)
    found = {id(p): group for group in parameter_groups(made, made.body, spec) for p in group["params"]}
    assert len(found) == len(list(made.parameters()))
    for name, parameter in made.named_parameters():
        group = found[id(parameter)]
        assert group["lr"] == (1e-4 if name.startswith("body.") else 1e-3)
        assert group["weight_decay"] == (0.1 if parameter.ndim > 1 else 0)
