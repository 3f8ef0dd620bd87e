"""The service as its callers see it from the first moment on: until it is opened, it says how far that is."""

from __future__ import annotations

from typing import Any

from nextlabel.connectors.errors import Overloaded

from .image_copies import ImageCopies, ImageCopy
from .ports import Backend, Status

STARTING = "starting"
"""The state of a service that is not opened yet."""


class Front:
    """Stands for a :class:`Backend` that is being opened. ``status`` answers at once; all else raises Overloaded.

    But for what ``images`` has: people go on labeling while a service starts again.
    """

    def __init__(self, images: ImageCopies | None = None) -> None:
        self._service: Backend | None = None
        self._images = images
        self._doing = ("", 0, 0)

    def show(self, stage: str, done: int, total: int) -> None:
        """``stage`` is done now: ``done`` of ``total``, which is 0 where nobody knows."""
        self._doing = (stage, done, total)

    def open(self, service: Backend) -> None:
        """From now on ``service`` answers."""
        self._service = service

    def status(self) -> Status:
        """Where everything stands."""
        if self._service is not None:
            return self._service.status()
        stage, done, total = self._doing
        return Status.starting(": ".join(filter(None, (STARTING, stage))), done, total)

    def image(self, name: str) -> ImageCopy | None:
        """What a record shows."""
        if self._service is None and self._images is not None:
            return self._images.find(name)
        found: ImageCopy | None = self.__getattr__("image")(name)
        return found

    def __getattr__(self, name: str) -> Any:
        """What the service has by this name. Raises Overloaded until there is one."""
        if self._service is None:
            raise Overloaded(f"{self.status().not_ready}; ask again in a moment")
        return getattr(self._service, name)
