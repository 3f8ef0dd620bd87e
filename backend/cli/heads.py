"""The head of another package, as commands that train encoders are told of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from nextlabel.backend.encoders.head_names import HEADS, HeadSpec
from nextlabel.connectors.errors import ConfigError

HeadName = Annotated[
    str | None,
    typer.Option(
        "--head",
        metavar="NAME",
        help="Where the encoder is trained: a head of an installed package (entry point nextlabel.heads) between token "
        "vectors and the linear layer.",
        show_default=False,
    ),
]
HeadOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--head-option", metavar="NAME=VALUE", help="An option of --head; say it again for more.", show_default=False
    ),
]


def chosen_head(name: str | None, options: Sequence[str] | None) -> HeadSpec | None:
    """What ``--head`` and ``--head-option`` say. Raises ConfigError, for a head that isn't installed, too."""
    from nextlabel.backend.recipe.yaml_document import number

    found = {}
    for option in options or ():
        key, equals, value = option.partition("=")
        if not key or not equals:
            raise ConfigError(f"--head-option {option!r} can't be read; write NAME=VALUE, like hidden=64")
        found[key] = number(value)
    if name is None:
        if found:
            raise ConfigError("--head-option goes with --head, the name of a head")
        return None
    HEADS.check(name)
    return HeadSpec(name, found)
