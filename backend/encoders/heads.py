"""Heads of other packages: a torch module of one's own between an encoder's token vectors and the vector of a text.

A package announces it as an entry point ``nextlabel.heads``: a factory ``(width, **options)`` of a torch module whose
forward takes token vectors, float32 [b, t, width], and their mask, int64 [b, t], and gives float32 [b, d]. What d is
shows when it is tried. A model's folder holds the weights (POOLER_FILE) and which head they are of (OWN_FILE), and no
code: to load it with torch, the package has to be installed. What was exported to ONNX needs it no more.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.plugins import Package, first_line
from nextlabel.connectors.errors import ConfigError, LearningError

from .head_names import HEADS, HeadSpec
from .library import MODULES_FILE, OWN_FILE, POOLER_FILE, read_json

OWN_HEAD = "head"
"""The pooling of a model that has one."""
SAMPLE_LENGTHS = (5, 1, 3)
"""Tokens of the texts that a head is tried on."""
LARGEST_CHANGE = 1e-3  # of an entry of a unit vector, from what the head made of the same weights when it was saved


def make_head(spec: HeadSpec, width: int) -> Any:
    """A torch module (token vectors float32 [b, t, width], mask int64 [b, t]) -> float32 [b, d], in evaluation mode.

    Its ``dimension`` is d, its ``module`` what the factory has made; ``save`` writes it into a model's folder. It
    computes in float32 on every device. Raises ConfigError if there is no such head, or it is none.
    """
    import torch

    module = HEADS.make(spec.name, [width], spec.options)
    if not isinstance(module, torch.nn.Module):
        raise ConfigError(f"head {spec.name} makes a {type(module).__name__}, which is no torch.nn.Module")

    class OwnHead(torch.nn.Module):  # type: ignore[misc]  # torch comes without types here
        def __init__(self) -> None:
            super().__init__()
            self.module, self.spec, self.dimension = module, spec, 0

        def forward(self, hidden: Any, mask: Any) -> Any:
            if not hidden.is_cuda:
                return self.module(hidden, mask)
            with torch.autocast("cuda", enabled=False):  # a masked score of -1e9 has no half precision
                return self.module(hidden.float(), mask)

        def save(self, folder: Path) -> None:
            save_head(self, folder, width)

    head = OwnHead().eval()
    head.dimension = vectors_of(head, *sample(width)).shape[1]
    return head


def sample(width: int) -> tuple[Any, Any]:
    """Token vectors float32 [3, 5, width] and their mask, int64 [3, 5]: always the same, on which heads are tried."""
    import torch

    count, longest = len(SAMPLE_LENGTHS), max(SAMPLE_LENGTHS)
    numbers = np.sin(np.arange(1, count * longest * width + 1) * 12.9898).astype(np.float32)
    mask = torch.arange(longest) < torch.tensor(SAMPLE_LENGTHS).unsqueeze(1)
    return torch.from_numpy(numbers.reshape(count, longest, width)), mask.long()


def vectors_of(head: Any, hidden: Any, mask: Any) -> npt.NDArray[np.float32]:
    """Unit vectors float32 [b, d] of what ``head`` makes. Raises ConfigError if it makes none."""
    import torch

    given = f"token vectors {list(hidden.shape)} and a mask {list(mask.shape)}"
    try:
        with torch.no_grad():
            found = head(hidden, mask)
    except Exception as error:  # whatever the module does
        raise ConfigError(
            f"head {head.spec.name} fails on {given}: {type(error).__name__}: {first_line(error)}"
        ) from error
    shape = list(found.shape) if isinstance(found, torch.Tensor) else None
    if shape is None or len(shape) != 2 or shape[0] != len(hidden) or not shape[1] or not found.is_floating_point():
        made = f"a {type(found).__name__}" if shape is None else f"{str(found.dtype).removeprefix('torch.')} {shape}"
        raise ConfigError(
            f"head {head.spec.name} makes {made} of {given}; it has to make one vector for each text: float32 "
            f"[{len(hidden)}, d]"
        )
    unit: npt.NDArray[np.float32] = (found.float() / found.float().norm(dim=1, keepdim=True).clamp(min=1e-12)).numpy()
    return unit


def save_head(head: Any, folder: Path, width: int) -> None:
    """Write weights, name and options of a head of ``make_head`` into a model's folder, and what it makes of a sample.

    So whoever loads it with another version of its package learns whether that still makes the same of the weights.
    """
    from safetensors.torch import save_file

    state = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in head.module.state_dict().items()}
    save_file(state, folder / POOLER_FILE)
    package, hidden, mask = HEADS.package(head.spec.name), *sample(width)
    said = {"name": head.spec.name, "options": dict(head.spec.options)}
    said |= {"package": package.name, "version": package.version}
    said["sample"] = [round(float(one), 6) for one in vectors_of(head.eval(), hidden[-1:], mask[-1:])[0]]
    _write(folder / OWN_FILE, {"pooling": OWN_HEAD, "head": said})
    transformer = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
    _write(folder / MODULES_FILE, [transformer])  # sentence-transformers is told of no pooling, rather than of another


def _write(file: Path, data: Any) -> None:
    file.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def saved_head(path: Path) -> tuple[HeadSpec, Package, list[float]]:
    """Which head the model in ``path`` has, of which package, and what it made of the sample. Raises LearningError."""
    file = path / OWN_FILE
    try:
        said = read_json(file)["head"]
        spec = HeadSpec(str(said["name"]), dict(said["options"]))
        return spec, Package(str(said["package"]), str(said["version"])), list(map(float, said["sample"]))
    except (KeyError, TypeError, ValueError) as error:
        raise LearningError(f"{file} does not say which head the model has; get the model anew") from error


def load_head(path: Path, width: int) -> Any:
    """The head of the model in ``path``, with its weights, as ``make_head`` makes it.

    Raises LearningError, which names the package where that is not installed or makes something else of the weights.
    """
    from safetensors.torch import load_file

    spec, package, expected = saved_head(path)
    try:
        HEADS.check(spec.name)
    except ConfigError:
        of = f" of the package {package}" if package.name else ""
        install = f"run: pip install {package.requirement}" if package.name else "install the package that has it"
        raise LearningError(
            f"{path} needs the head {spec.name!r}{of}, which is not installed; {install}. An ONNX file of the model "
            "(nextlabel models export --format onnx) needs no package"
        ) from None
    there = HEADS.package(spec.name)
    told = f"the head {spec.name} of {there}" if there.name else f"the head {spec.name}"
    fix = f"; it was saved with {package}: pip install {package.requirement}" if there != package else ""
    try:
        head = make_head(spec, width)
    except ConfigError as error:
        raise LearningError(f"{path} can't be loaded: {error}{fix}") from error
    try:
        head.module.load_state_dict(load_file(path / POOLER_FILE))
    except Exception as error:  # not safetensors, or of another shape
        raise LearningError(f"{path / POOLER_FILE} can't be read as {told}: {first_line(error)}{fix}") from error
    hidden, mask = sample(width)
    found = vectors_of(head, hidden[-1:], mask[-1:])[0]
    if found.shape != (len(expected),) or not np.abs(found - np.asarray(expected)).max() <= LARGEST_CHANGE:
        raise LearningError(
            f"{path}: {told} makes other vectors than it did when the model was saved{fix or '; its code has changed'}"
        )
    return head
