"""How the images of a project stand on its platform: inside the records, which slows its pages, or at addresses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import urlsplit

import httpx

from nextlabel.connectors.base import Connector, Finding
from nextlabel.connectors.certificates import trusted
from nextlabel.connectors.image_addresses import INSIDE

from .image_copies import ImageCopies

LOOKED_AT: Final = 100
"""Records that are looked at, the newest."""
PAGE: Final = 30
"""Records that a page of Label Studio's task list loads."""
HEAVY_PAGE: Final = 2**20
"""Characters of images in such a page from which it is felt."""
HEAVY: Final = 100 * 2**20
"""The same of a project."""
TIMEOUT_S: Final = 5.0


def image_findings(connector: Connector, images: ImageCopies | None, recipe: str) -> Iterator[Finding]:
    """What the doctor says of the images. ``images``: those of the recipe, None where there is none to the project.

    Nothing where no record has any. Raises ConnectorError.
    """
    addresses = connector.image_addresses(LOOKED_AT)
    if not addresses:
        return
    inside = [one for one in addresses if one.startswith(INSIDE)]
    if images is None or not images.url:
        yield _weighed(connector, addresses, inside, recipe)
    elif inside:
        yield Finding.warning(
            "images",
            f"{len(inside)} of the newest {len(addresses)} images stand inside the platform's records as data:, though "
            "NEXTLABEL_IMAGE_URL is set: they were pushed before it was, or are no pictures of dots",
            f"nextlabel images {recipe} --move",
        )
    if images is not None:
        yield from _reached(connector, images, addresses)


def _weighed(connector: Connector, addresses: Sequence[str], inside: Sequence[str], recipe: str) -> Finding:
    if not inside:
        return Finding.ok("images", "the platform's records have addresses of images")
    each = sum(map(len, inside)) / len(addresses)
    records = connector.survey().records
    told = f"images stand inside the platform's records as data:, {each / 1000:,.0f} kB each"
    if min(records, PAGE) * each < HEAVY_PAGE and records * each < HEAVY:
        return Finding.ok("images", told)
    return Finding.warning(
        "images",
        f"{told}, {records * each / 1e6:,.0f} MB in {records:,} records: {PAGE * each / 1e6:,.1f} MB for each page of "
        "Label Studio's task list, and as much again in its database, exports and backups",
        "set NEXTLABEL_IMAGE_URL to the address at which annotators' browsers reach this service, start it again, and "
        f"move what is there: nextlabel images {recipe} --move",
    )


def _reached(connector: Connector, images: ImageCopies, addresses: Sequence[str]) -> Iterator[Finding]:
    """Whether a browser would get what is behind the addresses of ours."""
    ours = next((one for one in addresses if images.name_in(one)), "")
    if ours:
        yield reach(images, ours, connector.project.url)


def reach(images: ImageCopies, address: str, platform: str) -> Finding:
    """Whether ``address``, one of ours, gives what it stands for, on a page of ``platform``."""
    fix = "start the service; NEXTLABEL_IMAGE_URL must be an address that annotators' browsers reach, with TLS if the "
    fix += "platform has it; then move the addresses: nextlabel images RECIPE --move"
    shown = address.rpartition("/")[0]
    if urlsplit(platform).scheme == "https" and urlsplit(address).scheme == "http":
        told = f"browsers load no image from {shown} into a page of {platform}, which has TLS"
        return Finding.error("images-address", told, fix)
    try:
        answer = httpx.get(address, timeout=TIMEOUT_S, trust_env=False, verify=trusted())
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Finding.error("images-address", f"no image comes from {shown}: {type(error).__name__}", fix)
    copy = images.find(images.name_in(address))
    if answer.status_code != 200 or copy is None or answer.content != copy.data:
        return Finding.error("images-address", f"{shown} answers {answer.status_code}, and not with the image", fix)
    return Finding.ok("images-address", f"images come from {shown}")
