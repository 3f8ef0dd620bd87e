"""Hooks our service up to a project: the ML backend, the webhooks, and the settings that the queue depends on.

Label Studio makes a webhook for every ML backend by itself, without our secret and for every action, and leaves it
behind when the backend is deleted. So what is there is compared with what should be, and repaired.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import structlog

from nextlabel.connectors.base import BackendAddress
from nextlabel.connectors.errors import ConfigError, PlatformError, ProjectTaken
from nextlabel.connectors.label_studio.client import OURS, SAMPLING, TITLE, Client, is_our_version

log = structlog.get_logger(__name__)

OWNER = ", recipe "
"""Parts the ML backend's description from the name of the recipe that it serves."""
SECRET_HEADER = "X-Nextlabel-Secret"  # noqa: S105  the name of a header

EVENTS = ("ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED", "TASKS_DELETED")
"""Sent with their payload. PROJECT_UPDATED is left out: every generation that we put in force would cause one."""
NOTICES = ("TASKS_CREATED",)
"""Sent without payload: it would hold every task of an import."""


SETTINGS: Mapping[str, Any] = {
    "sampling": SAMPLING,
    "show_collab_predictions": True,
    "evaluate_predictions_automatically": False,
}
"""Settings of the project that the queue needs."""


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook as it should be."""

    url: str
    actions: tuple[str, ...]
    payload: bool


class Webhooks:
    """The connection between one project and one address of our service."""

    def __init__(self, client: Client, project: int) -> None:
        self._client = client
        self._project = project
        self._secret = b""

    def connect(self, backend: BackendAddress) -> None:
        """Make backend, webhooks and settings what they should be, and remove what earlier runs of ours left.

        Raises ProjectTaken, having changed nothing, if another recipe works here; PlatformError, with the fix, if Label
        Studio can't or may not reach the address; ConfigError for an IPv6 number, which it looks up as if it were a
        name ("Can't resolve hostname [::1]").
        """
        parts = urlsplit(backend.url)
        if ":" in (parts.hostname or ""):
            raise ConfigError(
                f"Label Studio calls no IPv6 number, and {backend.url} has one: set NEXTLABEL_PUBLIC_URL to "
                f"an address with a name of this machine, such as {parts.scheme}://localhost:{parts.port}"
            )
        self._check_owner(backend.owner)
        self._secret = backend.webhook_secret.encode()
        version = self._settings()
        self._backend(backend)
        self._webhooks(backend)
        self._restore(version)

    def repair(self, backend: BackendAddress) -> tuple[str, ...]:
        """Connect again if the ML backend or a webhook is gone, unless to another service; returns what was gone."""
        backends, hooks = self.backends(), self.hooks()
        gone = [] if any(_is_at(one, backend) for one in backends) else ["the ML backend"]
        if not all(any(matches(one, hook, backend) for one in hooks) for hook in wanted_hooks(backend)):
            gone.append("the webhooks")
        if not gone or any(one.title == TITLE and not _is_at(one, backend) for one in backends):
            return ()
        self.connect(backend)
        return tuple(gone)

    def authentic(self, headers: Mapping[str, str]) -> bool:
        """Whether ``headers`` hold the secret; no delivery is authentic before :meth:`connect`. Never raises."""
        shown = next((value for name, value in headers.items() if name.lower() == SECRET_HEADER.lower()), "")
        return bool(self._secret) and hmac.compare_digest(shown.encode("utf-8", "surrogatepass"), self._secret)

    def ahead(self, found: Mapping[str, Any]) -> list[str]:
        """What :meth:`connect` and the queue will change in the project as ``found``, in words."""
        changes = [
            f"{key} becomes {value!r} (it is {found.get(key)!r})"
            for key, value in SETTINGS.items()
            if found.get(key) != value
        ]
        version = str(found.get("model_version") or "")
        if not version.startswith(OURS):
            was = f"it is {version!r}" if version else "none is set"
            changes.append(f"model_version becomes that of our latest queue ({was})")
        if not any(one.title == TITLE for one in self.backends()):
            changes.append(f"an ML backend called {TITLE}, and webhooks for answers and new tasks, are added")
        return changes

    def settings(self) -> dict[str, Any]:
        """What the project has for the settings that we change."""
        found = self._client.call(lambda: self._client.sdk.projects.get(self._project), again=True)
        return {name: getattr(found, name, None) for name in SETTINGS} | {"model_version": found.model_version or ""}

    def restore(self, before: Mapping[str, Any]) -> list[str]:
        """Put the settings back to what they were ``before``; returns which were changed, and to what."""
        now = self.settings()
        back = {name: value for name, value in before.items() if name in now and value is not None}
        if is_our_version(back.get("model_version", now["model_version"])):
            back["model_version"] = ""  # none of ours may stay in force
        changed = {name: value for name, value in back.items() if now[name] != value}
        if changed:
            self._client.call(lambda: self._client.sdk.projects.update(self._project, **changed), again=True)
        return [f"{name} is {value!r} again" for name, value in changed.items()]

    def disconnect(self) -> str:
        """Remove our ML backend and our webhooks, and those that Label Studio made for it; returns what was removed."""
        backends = [found for found in self.backends() if found.title == TITLE]
        for found in backends:
            self._client.call(partial(self._client.sdk.ml.delete, found.id), again=True)
        urls = {hook_url(found) for found in backends}
        hooks = [found for found in self.hooks() if ours(found, None) or found.url in urls]
        for found in hooks:
            self._client.call(partial(self._client.sdk.webhooks.delete, found.id), again=True)
        return f"{len(backends)} ML backends and {len(hooks)} webhooks removed"

    def _check_owner(self, owner: str) -> None:
        for found in self.backends():
            _, _, name = str(found.description or "").partition(OWNER)
            if found.title == TITLE and name and owner and name != owner:
                raise ProjectTaken(
                    f"the project is worked on with the recipe {name} (its ML backend is at {found.url}). Label Studio "
                    "has one queue and one model version for all of a project, so no other recipe can share it: use a "
                    f"project of its own, or give this one up first: nextlabel detach {name}"
                )

    def backends(self) -> list[Any]:
        """The ML backends of the project."""
        return list(self._client.call(lambda: self._client.sdk.ml.list(project=self._project), again=True))

    def hooks(self) -> list[Any]:
        """The webhooks of the project."""
        return list(self._client.call(lambda: self._client.sdk.webhooks.list(project=str(self._project)), again=True))

    def _settings(self) -> str:
        """Set what the queue needs; return the model version in force, which the steps below may change."""
        sdk, project = self._client.sdk, self._project
        found = self._client.call(lambda: sdk.projects.get(project), again=True)
        if any(getattr(found, key, None) != value for key, value in SETTINGS.items()):
            self._client.call(lambda: sdk.projects.update(project, **SETTINGS), again=True)
        return str(found.model_version or "")

    def _backend(self, backend: BackendAddress) -> None:
        sdk, project = self._client.sdk, self._project
        same, old = [], []
        for found in self.backends():
            if _is_at(found, backend):
                same.append(found)
            elif found.title == TITLE:
                old.append(found)
        for found in [*same[1:], *old]:
            log.info("removing an ML backend of an earlier run", url=found.url)
            self._client.call(partial(sdk.ml.delete, found.id), again=True)
        settings: dict[str, Any] = {
            "url": backend.url,
            "project": project,
            "title": TITLE,
            "description": f"Suggestions and queue order by nextlabel{OWNER}{backend.owner}",
            "auth_method": "BASIC_AUTH",
            "basic_auth_user": backend.user,
            "basic_auth_pass": backend.password,
            "is_interactive": False,
        }
        with _explained(backend.url, "ML backends", "ML_BLOCK_LOCAL_IP"):
            if same:
                self._client.call(lambda: sdk.ml.update(same[0].id, **settings))
            else:
                self._client.call(lambda: sdk.ml.create(**settings))

    def _webhooks(self, backend: BackendAddress) -> None:
        wanted = wanted_hooks(backend)
        for found in self.hooks():
            hook = next((hook for hook in wanted if matches(found, hook, backend)), None)
            if hook is not None:
                wanted.remove(hook)
            elif ours(found, backend):
                log.info("removing a webhook of ours", url=found.url, webhook=found.id)
                self._client.call(partial(self._client.sdk.webhooks.delete, found.id), again=True)
        for hook in wanted:
            with _explained(hook.url, "webhooks", "SSRF_PROTECTION_ENABLED"):
                self._create(hook, backend.webhook_secret)

    def _create(self, hook: Hook, secret: str) -> None:
        self._client.call(
            lambda: self._client.sdk.webhooks.create(
                url=hook.url,
                project=self._project,
                send_payload=hook.payload,
                send_for_all_actions=False,
                actions=list(hook.actions),
                headers={SECRET_HEADER: secret},
                is_active=True,
            )
        )

    def _restore(self, version: str) -> None:
        """A first backend made itself the project's version, a deleted one blanked it: put back what was."""
        found = self._client.call(lambda: self._client.sdk.projects.get(self._project), again=True)
        wanted = "" if version == TITLE else version
        if (found.model_version or "") != wanted:
            self._client.call(lambda: self._client.sdk.projects.update(self._project, model_version=wanted), again=True)


def _is_at(found: Any, backend: BackendAddress) -> bool:
    return bool(found.url.rstrip("/") == backend.url)


def hook_url(backend: Any) -> str:
    """Where an ML backend, ours or another, takes its webhooks in."""
    return f"{backend.url.rstrip('/')}/webhook"


def wanted_hooks(backend: BackendAddress) -> list[Hook]:
    """The webhooks that the service needs."""
    url = hook_url(backend)
    return [Hook(url, EVENTS, payload=True), Hook(url, NOTICES, payload=False)]


def matches(found: Any, hook: Hook, backend: BackendAddress) -> bool:
    """Whether an existing webhook is exactly as it should be."""
    return bool(
        found.url == hook.url
        and found.is_active
        and found.send_payload == hook.payload
        and not found.send_for_all_actions
        and set(found.actions or ()) == set(hook.actions)
        and (found.headers or {}).get(SECRET_HEADER) == backend.webhook_secret
    )


def ours(found: Any, backend: BackendAddress | None) -> bool:
    """Whether a webhook was made by us, or by Label Studio on our account."""
    return (backend is not None and found.url == hook_url(backend)) or SECRET_HEADER in (found.headers or {})


@contextmanager
def _explained(url: str, what: str, switch: str) -> Iterator[None]:
    """Turns a refusal to connect into one that says what to change on the server."""
    try:
        yield
    except PlatformError as error:
        why = f"Label Studio did not accept {url} among its {what}: {error.body or error}. "
        why += "The service must be running, and reachable from the machine that Label Studio runs on"
        if "reserved network address" in str(error) or "resolves to" in str(error):
            why = (
                f"Label Studio does not allow {what} on {url}, a local or private address: start it with {switch}=false"
            )
        raise PlatformError(why, status=error.status, body=error.body) from error
