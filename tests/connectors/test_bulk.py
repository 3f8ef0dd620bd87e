"""Batches that a platform takes, or shows, only in part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from nextlabel.connectors.bulk import Narrowing, read_apart
from nextlabel.connectors.errors import PlatformError, PlatformUnavailable


def test_single_items_that_are_refused_are_named_and_all_others_sent() -> None:
    sent: list[str] = []

    def send(part: Mapping[str, int]) -> None:
        if refused := [key for key in part if part[key] % 40 == 7]:
            raise PlatformError("no", status=400, body=f"{refused[0]} is odd")
        sent.extend(part)

    narrowing = Narrowing()
    narrowing.send({f"t{number}": number for number in range(100)}, send)
    assert narrowing.refused == {"t7": "t7 is odd", "t47": "t47 is odd", "t87": "t87 is odd"}
    assert sorted(sent) == sorted({f"t{number}" for number in range(100)} - narrowing.refused.keys())
    assert not narrowing.gave_up


def test_where_all_is_refused_the_rest_is_not_tried() -> None:
    def send(part: Mapping[str, int]) -> None:
        raise PlatformError("no", status=400)

    narrowing = Narrowing()
    narrowing.send(dict.fromkeys(map(str, range(500)), 0), send)
    assert narrowing.gave_up


def test_what_can_not_be_shown_is_found_by_halving() -> None:
    asked: list[int] = []

    def read(part: Sequence[int]) -> Sequence[str]:
        asked.append(len(part))
        if {3, 700} & set(part):
            raise PlatformUnavailable("it fails", status=500)
        return [str(one) for one in part if one < 900]

    shown = read_apart(range(1000), read, lambda one, error: f"{one}: {error}", lambda error: error.status == 500)
    assert shown == [f"{one}: it fails" if one in (3, 700) else str(one) for one in range(900)]
    assert len(asked) < 50
    with pytest.raises(PlatformUnavailable):
        read_apart([3], read, lambda one, error: "", lambda error: error.status == 422)
