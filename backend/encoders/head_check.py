"""Whether a head of another package will do, found out before anything is trained with it.

Texts are read in batches and padded, windows alone; weights are saved and loaded; a service answers with ONNX Runtime.
A head that does not bear one of these would be found out after the training, or never.

A process that has torch tries a head itself; for any other, ``python -m nextlabel.backend.encoders.head_check`` does.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from nextlabel.backend.lifeline import end_with
from nextlabel.backend.plugins import first_line
from nextlabel.connectors.errors import ConfigError

from .base import installed
from .elsewhere import refuse, run_elsewhere
from .head_names import HEADS, HeadSpec
from .heads import SAMPLE_LENGTHS, make_head, sample, vectors_of
from .onnx import LARGEST_DIFFERENCE, OPSET, open_session

SMALLEST_FAULT = 1e-4  # of an entry of a unit vector
FILLED = 7.0  # what stands in the padding of token vectors may be anything
SECONDS = 300  # a head that takes longer to be tried hangs


def check_head(head: Any, width: int, length: int) -> None:
    """Raise ConfigError if a head of ``make_head`` can't be trained, saved or exported, and say what to change.

    ``length``: tokens of the longest text that it will be given. Leaves it as it was, in evaluation mode, and torch's
    random numbers where they stood.
    """
    import torch

    long = sample(width)[0][:1].repeat(1, length, 1)[:, :length]
    with torch.random.fork_rng(devices=[]):
        vectors_of(head, long, torch.ones(1, length, dtype=torch.int64))
        _same_however_read(head, width)
        _all_in_weights(head, width)
        _learns(head, width)
    if installed("onnx") and installed("onnxruntime"):
        _exports(head, width, long)


def try_head(spec: HeadSpec, width: int, length: int) -> None:
    """Make a head and check it, in another process where this one has no torch loaded. Raises ConfigError."""
    HEADS.check(spec.name)
    if "torch" in sys.modules:
        check_head(make_head(spec, width), width, length)
        return
    order = json.dumps([spec.name, dict(spec.options), width, length, os.getpid()])
    done = run_elsewhere("nextlabel.backend.encoders.head_check", order, seconds=SECONDS)
    if done.failed:
        raise ConfigError(done.reason if done.refused else f"head {spec.name} can't be tried: {done.reason}")


def _same_however_read(head: Any, width: int) -> None:
    """Vectors are numbers, and depend on the text alone."""
    import torch

    name, (hidden, mask) = head.spec.name, sample(width)
    together = vectors_of(head, hidden, mask)
    if not np.isfinite(together).all():
        raise ConfigError(f"head {name} makes vectors that are no numbers (nan) of token vectors that are")
    if _apart(together, vectors_of(head, hidden, mask)):
        raise ConfigError(
            f"head {name} makes another vector of a text each time: in evaluation mode nothing may be drawn by chance"
        )
    filled = torch.where(mask.unsqueeze(-1).bool(), hidden, torch.full_like(hidden, FILLED))
    longer = torch.nn.functional.pad(filled, (0, 0, 0, 4), value=FILLED), torch.nn.functional.pad(mask, (0, 4))
    if _apart(together, vectors_of(head, *longer)):
        raise ConfigError(
            f"head {name} makes another vector of a text with more padding: what stands where the mask is 0 must not "
            "count, neither in a mean, a softmax or a maximum, nor to its neighbours in a convolution"
        )
    alone = [vectors_of(head, hidden[[row], :count], mask[[row], :count]) for row, count in enumerate(SAMPLE_LENGTHS)]
    if _apart(together, np.concatenate(alone)):
        raise ConfigError(f"head {name} makes another vector of a text beside others than alone")


def _apart(one: Any, other: Any) -> bool:
    return not float(np.abs(one - other).max()) <= SMALLEST_FAULT


def _all_in_weights(head: Any, width: int) -> None:
    """Made anew with the same weights, it says the same."""
    name, state = head.spec.name, head.module.state_dict()
    try:
        again = make_head(head.spec, width)
        again.module.load_state_dict({key: tensor.detach().clone() for key, tensor in state.items()})
    except Exception as error:  # a state that is no tensor, or fits no other of its kind
        raise ConfigError(f"head {name} can't be saved and loaded by its state_dict: {first_line(error)}") from error
    if _apart(vectors_of(head, *sample(width)), vectors_of(again, *sample(width))):
        raise ConfigError(
            f"head {name}, made anew with the same weights, makes other vectors: what its forward uses must be "
            "parameters or buffers (register_buffer), which are saved"
        )


def _learns(head: Any, width: int) -> None:
    """A step of training goes through, also with one text, and reaches the encoder."""
    import torch

    before = {key: tensor.detach().clone() for key, tensor in head.module.state_dict().items()}
    hidden, mask = sample(width)
    try:
        for rows in (slice(None), slice(1)):
            given = hidden[rows].clone().requires_grad_()
            found = head.train()(given, mask[rows])
            (found * torch.linspace(-1.0, 1.0, found.shape[1])).sum().backward()
            if given.grad is None or not torch.isfinite(given.grad).all():
                raise RuntimeError("no gradient reaches the token vectors")
    except Exception as error:
        raise ConfigError(f"head {head.spec.name} can't be trained: {first_line(error)}") from error
    finally:
        head.eval().zero_grad(set_to_none=True)
        head.module.load_state_dict(before)  # running means and the like


def _exports(head: Any, width: int, long: Any) -> None:
    """ONNX Runtime makes the same vectors, whatever the number of texts and tokens."""
    import torch

    name, (hidden, mask) = head.spec.name, sample(width)
    axes = {0: "texts", 1: "tokens"}
    with TemporaryDirectory(prefix="nextlabel-head-") as work, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns about every shape that it takes for constant
        file = Path(work) / "head.onnx"
        try:
            with torch.no_grad():
                torch.onnx.export(
                    head,
                    (hidden, mask),
                    str(file),
                    dynamo=False,  # as the encoder under it is exported
                    opset_version=OPSET,
                    input_names=["hidden", "mask"],
                    output_names=["vectors"],
                    dynamic_axes={"hidden": axes, "mask": axes, "vectors": {0: "texts"}},
                )
            session = open_session(file, 1)
            every = torch.ones(long.shape[:2], dtype=torch.int64)
            for some, real in ((hidden, mask), (hidden[1:2, :1], mask[1:2, :1]), (long, every)):
                told = session.run(None, {"hidden": some.numpy(), "mask": real.numpy()})[0]
                told = told / np.linalg.norm(told, axis=1, keepdims=True).clip(1e-12)
                worst = float(np.abs(told - vectors_of(head, some, real)).max())
                if not worst <= LARGEST_DIFFERENCE:
                    raise ValueError(f"vectors from ONNX differ from torch's by {worst:.1g}")
        except Exception as error:  # of torch's exporter, or of ONNX Runtime
            raise ConfigError(
                f"head {name} can't be exported to ONNX, which a service answers with: {first_line(error)}; keep to "
                "operations on tensors, without loops or branches over what is in them"
            ) from error


def main(arguments: list[str]) -> int:
    """``[NAME, OPTIONS, WIDTH, LENGTH, PARENT]`` in JSON: see try_head. It ends with the process PARENT."""
    name, options, width, length, parent = json.loads(arguments[0])
    end_with(parent)
    import torch

    torch.set_num_threads(1)
    try:
        try_head(HeadSpec(name, options), width, length)
    except ConfigError as error:
        return refuse(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
