"""Whose account on the platform the people are that a file of answers names."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from nextlabel.backend.data.rows import first_few
from nextlabel.backend.recipe.existing import ExistingAnswers
from nextlabel.backend.store import Store
from nextlabel.connectors.base import Connector
from nextlabel.connectors.errors import ConfigError

SAID = "imported people"
"""Where the store keeps whose account those are that files name, as it was said or made before."""
NOBODY = ""
"""Who is not named."""
NAMED = 12
"""So many people a summary names."""


class People:
    """The people of one file: ``names`` -> how many answers they gave.

    ``accounts``: name -> id of their account; ``missing``: those without one.
    """

    def __init__(self, connector: Connector | None, spec: ExistingAnswers, store: Store) -> None:
        self._connector, self._spec, self._store = connector, spec, store
        self.names: Mapping[str, int] = {}
        self.accounts: dict[str, str] = {}
        self.missing: list[str] = []
        self._called: Mapping[str, str] = {}  # id -> name of an account

    @property
    def makes(self) -> bool:
        """Whether people without an account get one."""
        return self._spec.make_accounts

    def look_up(self, names: Mapping[str, int]) -> None:
        """Find the accounts of these people. Raises ConfigError if an account that was named is not there."""
        self.names = names
        if self._connector is None:
            return
        self._called = self._connector.accounts()
        said: dict[str, str] = json.loads(self._store.get_meta(SAID) or "{}")
        known = {name: number for name, number in said.items() if number in self._called} | _aliases(self._called)
        for name in names:
            wanted = self._spec.accounts.get(name) or (self._spec.given_by if name == NOBODY else name)
            if wanted is None:
                self.accounts[name] = self._connector.own_account()
            elif (found := known.get(wanted) or known.get(wanted.lower())) is not None:
                self.accounts[name] = found
            elif wanted != name:
                raise ConfigError(
                    f"there is no account {wanted!r} on the platform (for {name or 'answers of nobody named'!r}); "
                    f"there are {first_few(sorted(self._called.values()), NAMED)}"
                )
            else:
                self.missing.append(name)

    def key(self, name: str) -> str:
        """What stands for a person among the answers: the account's id, or a name until there is an account."""
        return self.accounts.get(name) or f"\0{name}"

    def make(self, connector: Connector, wanted: Collection[str]) -> dict[str, str]:
        """Name -> id of an account of everybody ``wanted``. Raises ConfigError, ConnectorError."""
        missing = [name for name in self.missing if name in wanted]
        if missing and not self.makes:
            raise ConfigError(self.advice())
        found = self.accounts | (dict(connector.make_accounts(missing)) if missing else {})
        said = json.loads(self._store.get_meta(SAID) or "{}")
        self._store.set_meta(SAID, json.dumps(said | {name: number for name, number in found.items() if name}))
        return found

    def named(self, ids: Mapping[str, str]) -> dict[str, str]:
        """Id -> name, of the accounts in ``ids`` (name -> id)."""
        return {number: self._called.get(number, name) for name, number in ids.items()}

    def advice(self) -> str:
        """What to do about those who have no account."""
        count = len(self.missing)
        return (
            f"{count:,} {'person has' if count == 1 else 'people have'} no account on the platform: "
            f"{first_few(self.missing, NAMED)}. Nothing was changed. --make-accounts makes "
            f"{'one for each' if count > 1 else 'one'} (nobody can log in with it), --as '{self.missing[0]}=ACCOUNT' "
            "says whose account it is; in a recipe that is `make_accounts: true`, and `accounts:`"
        )

    def lines(self) -> list[str]:
        """Whose account is whose, in sentences."""
        known = [
            f"{name or 'nobody named'} is {self._called.get(number, number)} ({self.names[name]:,})"
            for name, number in self.accounts.items()
        ]
        if self._connector is None and self.names:
            return [f"answers of: {first_few(list(self.names), NAMED)}; accounts are looked up once there is a project"]
        lines = [f"answers of: {first_few(known, NAMED)}"] if known else []
        if self.missing:
            verb = "get an account" if self.makes else "have no account"
            lines.append(f"{len(self.missing):,} people {verb}: {first_few(self.missing, NAMED)}")
        return lines


def _aliases(accounts: Mapping[str, str]) -> dict[str, str]:
    """What accounts (id -> name) may be called: id, name, and the part of an address before the @ that only one has."""
    short: dict[str, set[str]] = {}
    for number, name in accounts.items():
        short.setdefault(name.split("@")[0].lower(), set()).add(number)
    found = {alias: next(iter(numbers)) for alias, numbers in short.items() if len(numbers) == 1}
    found |= {name.lower(): number for number, name in accounts.items()}
    return found | {name: number for number, name in accounts.items()} | {number: number for number in accounts}
