"""Pictures that a request names, before they reach the forward pass."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from nextlabel.backend.data.image_rules import ImageProblem
from nextlabel.backend.encoders.base import Encoder
from nextlabel.backend.encoders.multimodal import MultimodalEncoder
from nextlabel.backend.questions import Prediction
from nextlabel.connectors.content import Readable


async def with_pictures(
    encoder: Encoder | None, contents: Mapping[int, Readable], version: str
) -> tuple[dict[int, Readable], dict[int, Prediction]]:
    """``contents`` as ``encoder`` can read them at once, and what is said of those whose pictures can't be read.

    Downloads are waited for in a thread: they must not hold up everybody's forward passes. ``version`` names the model.
    """
    wanted: Sequence[Readable | ImageProblem] = list(contents.values())
    if contents and isinstance(encoder, MultimodalEncoder):
        wanted = await asyncio.to_thread(encoder.fetched, list(contents.values()))
    ready, unread = {}, {}
    for at, one in zip(contents, wanted, strict=True):
        if isinstance(one, ImageProblem):
            unread[at] = Prediction.of_unread(f"image: can't be read: {one}", version)
        else:
            ready[at] = one
    return ready, unread
