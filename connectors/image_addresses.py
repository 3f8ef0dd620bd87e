"""What a platform has for the images of a record: the images themselves, as data: URLs, or an address of ours for each.

Only the platform, and who reads from it or writes to it, knows of these addresses. Whatever else we have of a record
holds the image itself, so that it is the same record whichever of the two the platform shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from nextlabel.connectors.records import FieldKind, Labeling, Record

INSIDE = "data:"
"""How an image begins that stands in the record itself."""


class ImageAddresses(Protocol):
    """Images as data: URLs <-> the addresses that stand for them on the platform. Anything else stays as it is."""

    def shown(self, image: str) -> str:
        """What the platform gets. Raises StoreError if the copy to serve can't be kept."""
        ...

    def known(self, address: str) -> str:
        """The image at an address of ours."""
        ...


class AsTheyAre:
    """The platform has what we have."""

    def shown(self, image: str) -> str:
        """The same."""
        return image

    def known(self, address: str) -> str:
        """The same."""
        return address


AS_THEY_ARE = AsTheyAre()


def image_fields(labeling: Labeling) -> list[str]:
    """Names of the fields that hold images."""
    return [one.name for one in labeling.fields if one.kind is FieldKind.IMAGE]


def with_images(record: Record, labeling: Labeling, turned: Callable[[str], str]) -> Record:
    """``record`` with its images ``turned``: :meth:`ImageAddresses.shown` or :meth:`ImageAddresses.known`."""
    found = {name: turned(record.fields[name]) for name in image_fields(labeling) if record.fields.get(name)}
    if all(record.fields[name] == image for name, image in found.items()):
        return record
    return replace(record, fields={**record.fields, **found})
