"""The clock that terms are measured by, and who else reads the same one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nextlabel.connectors.clocks import elapsed

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = Path("/proc/self/ns/time")


@dataclass(frozen=True, slots=True)
class Clock:
    """A clock that only runs forward. Two readings may be compared if they are of clocks with the same ``name``.

    ``name`` is empty where nobody else is known to read the same clock.
    """

    name: str
    read: Callable[[], float]

    @classmethod
    def of_machine(cls) -> Clock:
        """The one of this machine, which all processes that run on the same kernel share, in containers too.

        Named by the boot, at which it begins anew, and the time namespace, which may shift it; both are the kernel's.
        """
        try:
            namespace = str(_NAMESPACE.readlink()) if _NAMESPACE.is_symlink() else ""
            return cls(f"{_BOOT.read_text().strip()} {namespace}".strip(), elapsed)
        except OSError:
            return cls("", elapsed)
