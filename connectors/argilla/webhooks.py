"""Hooks our service up to a dataset: the webhook that announces answers, and the links in the guidelines.

A webhook of Argilla hears of every dataset of the server, and its secret is made by the server. Only events of
responses are asked for: writing a queue changes many records, and an event for each would keep the server's worker busy
while the answers wait behind them.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

import httpx
import structlog

from nextlabel.connectors.argilla.client import Client
from nextlabel.connectors.base import BackendAddress
from nextlabel.connectors.errors import ConnectorError, MissingExtra, PlatformError, ProjectNotFound, Unauthorized

log = structlog.get_logger(__name__)

WEBHOOK = "/webhook/argilla"
"""Where our service takes Argilla's events in."""
EVENTS = ("response.created", "response.updated", "response.deleted")
DESCRIPTION = "nextlabel: answers of dataset "
ASK_EVERY_S = 5.0
"""Seconds between two looks for a new secret: forged deliveries must not make us hammer the server."""
ASK_TIMEOUT_S = 3.0
"""Argilla waits for the answer to a ping without doing anything else, so it can't tell us the secret meanwhile."""

START = "<!-- nextlabel: links, rewritten by the service; write above or below -->"
END = "<!-- nextlabel: end of links -->"
INTRODUCTION = "**Please label through your own link.** Only there the records come in the order that helps most."
LONGEST_GUIDELINES = 10_000


class Webhooks:
    """The connection between one dataset and one address of our service. Thread-safe.

    ``question`` is empty for the first question of a dataset. Another's webhook and links stand beside that one's.
    Raises MissingExtra if the library that reads the signatures is not installed.
    """

    def __init__(self, client: Client, dataset_id: str, question: str = "") -> None:
        try:
            import standardwebhooks  # noqa: F401
        except ImportError:
            raise MissingExtra("standardwebhooks", "argilla") from None
        self._client = client
        self._dataset, self._question = dataset_id, question
        self._description = f"{DESCRIPTION}{dataset_id}{f', question {question}' if question else ''}"
        self._secrets: tuple[str, ...] = ()
        self._asked = -ASK_EVERY_S
        self._asking = threading.Lock()

    # -- the webhook -------------------------------------------------------------------------------------------------

    def connect(self, backend: BackendAddress) -> None:
        """Make the webhook what it should be, and remove what earlier runs of ours left.

        Where the server does not let us, says so in the log: answers are then found by polling. Raises
        PlatformUnavailable.
        """
        try:
            self._connect(hook_url(backend))
        except Unauthorized:
            log.warning(
                "answers are found by polling only: webhooks of Argilla can be made by owners alone; use the API key "
                "of an owner to hear of them at once"
            )
        except PlatformError as error:
            log.warning("answers are found by polling only: Argilla did not take the webhook", reason=str(error))

    def missing(self, backend: BackendAddress) -> tuple[str, ...]:
        """What of the webhook and the links somebody removed or changed. Where we may not look at webhooks, none."""
        gone = []
        try:
            url = hook_url(backend)
            if not any(same_address(hook["url"], url) and self.mine(hook) and is_right(hook) for hook in self.hooks()):
                gone.append("the webhook")
        except Unauthorized:
            pass
        if start_of(self._question) not in (self._client.get(f"/api/v1/datasets/{self._dataset}")["guidelines"] or ""):
            gone.append("the links in the guidelines")
        return tuple(gone)

    def hooks(self, timeout: float | None = None) -> list[dict[str, Any]]:
        """Every webhook of the server, with its secret: not for logs. Raises Unauthorized unless we are an owner."""
        answer = self._client.request("GET", "/api/v1/webhooks", again=timeout is None, timeout=timeout)
        return list(answer["items"])

    def mine(self, hook: Mapping[str, Any]) -> bool:
        """Whether a webhook was made by us for this question."""
        return bool(hook["description"] == self._description)

    def orphaned(self, hook: Mapping[str, Any]) -> bool:
        """Whether a webhook was made by us for a dataset that is gone."""
        described = str(hook["description"] or "")
        if self.mine(hook) or not described.startswith(DESCRIPTION):
            return False
        try:
            self._client.get(f"/api/v1/datasets/{described.removeprefix(DESCRIPTION).partition(',')[0]}")
        except ProjectNotFound:
            return True
        except PlatformError:  # what people wrote there is no id
            pass
        return False

    def _connect(self, url: str) -> None:
        hooks = self.hooks()
        here = [hook for hook in hooks if same_address(hook["url"], url)]
        for hook in hooks:
            if hook in here[1:] or (hook not in here and (self.mine(hook) or self.orphaned(hook))):
                log.info("removing a webhook of an earlier run", url=hook["url"], webhook=hook["id"])
                self._client.request("DELETE", f"/api/v1/webhooks/{hook['id']}")
        wanted = {"events": list(EVENTS), "description": self._description}
        if not here:
            here = [self._client.request("POST", "/api/v1/webhooks", body={"url": url, **wanted})]
        elif not (is_right(here[0]) and self.mine(here[0])):
            path = f"/api/v1/webhooks/{here[0]['id']}"
            here = [self._client.request("PATCH", path, again=True, body={"enabled": True, **wanted})]
        self._secrets = (here[0]["secret"],)

    def ahead(self) -> list[str]:
        """What :meth:`connect` and :meth:`guidelines` will change, in words."""
        changes = []
        try:
            if not any(self.mine(hook) for hook in self.hooks()):
                changes.append("a webhook for answers is added")
        except Unauthorized:  # then there will be none, and answers are found by polling
            pass
        if start_of(self._question) not in (self._client.get(f"/api/v1/datasets/{self._dataset}")["guidelines"] or ""):
            changes.append("each annotator's link is written above the guidelines")
        return changes

    def disconnect(self) -> int:
        """Remove our webhooks; returns how many there were. Raises Unauthorized unless we are an owner."""
        mine = [hook for hook in self.hooks() if self.mine(hook)]
        for hook in mine:
            self._client.request("DELETE", f"/api/v1/webhooks/{hook['id']}")
        return len(mine)

    # -- deliveries --------------------------------------------------------------------------------------------------

    def authentic(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether a delivery carries a signature, not older than five minutes, that only the server could make.

        Looks the secret up again if it does not fit, but seldom: the server may have been set up anew.
        """
        if verified(self._secrets, headers, body):
            return True
        if not self._asking.acquire(blocking=False):
            return False  # a real one comes again in ten seconds
        try:
            if time.monotonic() - self._asked < ASK_EVERY_S:
                return False
            self._ask()
        finally:
            self._asking.release()
        return verified(self._secrets, headers, body)

    def _ask(self) -> None:
        try:
            hooks = self.hooks(ASK_TIMEOUT_S)
            self._secrets = tuple(hook["secret"] for hook in hooks if httpx.URL(hook["url"]).path.endswith(WEBHOOK))
        except ConnectorError as error:
            log.warning("a webhook delivery can't be verified: the secret can't be read", reason=str(error))
        finally:
            self._asked = time.monotonic()

    # -- the guidelines ----------------------------------------------------------------------------------------------

    def guidelines(self, links: Mapping[str, str]) -> None:
        """Write each annotator's link into the dataset's guidelines; what people wrote there stays.

        ``links`` maps names to addresses; none removes our part. Raises ConnectorError.
        """
        path = f"/api/v1/datasets/{self._dataset}"
        found = self._client.get(path)["guidelines"] or ""
        written = with_links(found, links, self._question)
        if written != found:
            self._client.request("PATCH", path, again=True, body={"guidelines": written or None})


def hook_url(backend: BackendAddress) -> str:
    """The address of our webhook."""
    return backend.url + WEBHOOK


def same_address(one: str, other: str) -> bool:
    """Whether two addresses are the same: Argilla writes them its own way (case of the host, default port)."""
    return httpx.URL(one) == httpx.URL(other)


def is_right(hook: Mapping[str, Any]) -> bool:
    """Whether a webhook is switched on, and hears of what we need and of nothing else."""
    return bool(hook["enabled"]) and set(hook["events"]) == set(EVENTS)


def verified(secrets: Iterable[str], headers: Mapping[str, str], body: bytes) -> bool:
    """Whether one of ``secrets`` made the signature in ``headers`` (https://www.standardwebhooks.com)."""
    from standardwebhooks import Webhook, WebhookVerificationError

    for secret in secrets:
        try:
            Webhook(secret).verify(body, dict(headers), json_parse=False)
        except (WebhookVerificationError, ValueError):  # ValueErrors: no UTF-8, no base64, no pair
            continue
        return True
    return False


def start_of(question: str) -> str:
    """What begins the block of links in the guidelines; that of the dataset's first question names none."""
    return START.replace("links,", f"links of {question.replace('--', '- -')},") if question else START


def with_links(guidelines: str, links: Mapping[str, str], question: str = "") -> str:
    """``guidelines`` with our block of ``links`` in them, where it was or on top. What does not fit is left out.

    The block of a ``question`` stands for itself: those of others stay as they are.
    """
    start = start_of(question)
    ours = re.compile(rf"{re.escape(start)}(?:(?!{re.escape(start)}).)*?{re.escape(END)}\n*", re.DOTALL)
    theirs = ours.sub("", guidelines)
    place = found.start() if (found := ours.search(guidelines)) else 0
    room = LONGEST_GUIDELINES - len(theirs)
    introduction = INTRODUCTION.replace("label", f"answer “{_escaped(question)}”") if question else INTRODUCTION
    lines = [f"- [{_escaped(name)}]({link})" for name, link in links.items()]
    block = _block([start, "", introduction, ""], lines, room)
    if links and not block:
        log.warning("the guidelines have no room for the annotators' links: shorten them, or hand the links out")
    return theirs[:place] + block + theirs[place:]


def _block(head: list[str], lines: list[str], room: int) -> str:
    """The lines between markers, as many as fit in ``room`` characters; empty if not even one does."""
    for shown in range(len(lines), 0, -1):
        more = [f"- and {len(lines) - shown} more: ask for yours"] if shown < len(lines) else []
        block = "\n".join([*head, *lines[:shown], *more, "", END, "", ""])
        if len(block) <= room:
            return block
    return ""


def _escaped(name: str) -> str:
    return re.sub(r"([\\`*_\[\]<>])", r"\\\1", name)
