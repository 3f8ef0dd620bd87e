"""Argilla's annotation page as one person has it open: which record it shows next, and which it never shows.

Argilla 2.8's page fetches ten records, numbers them, and fetches on while the person works. After a change of the
order the next fetch is out of step with what the page holds. A record that moved to a place which the page believes
to have seen is passed over. One that the page holds and gets again takes its new number, and where it stood the page
is empty: the record that the person was looking at is gone, and stays so until the page is opened anew.

The rules are those of the page's own code (the classes Records and PageCriteria and the use case
load-records-to-annotate of argilla-frontend), for the pending queue in focus mode; the requests and what is shown,
the empty page included, were compared with the real page in Chromium.
"""

from __future__ import annotations

from .argilla_annotator import Answer, ArgillaAnnotator, Json, Response

MANY = 10
"""Records in one fetch."""
BUFFER = 5
"""The page fetches on when it has no more records than these after the one shown."""


class Page:
    """``annotator``'s page, opened at ``link`` (an address with ``?sort=``, or empty). Not thread-safe.

    ``current`` is the record shown; None when the page says that there is nothing to do.
    """

    def __init__(self, annotator: ArgillaAnnotator, link: str = "") -> None:
        self.annotator = annotator
        self.link = link
        self.current: Json | None = None
        self._number = 1  # of the record shown
        self._held: dict[str, tuple[int, Json]] = {}  # record id -> its number, and the record
        self._answered: set[str] = set()  # submitted or discarded, or saved as draft, among those held
        self._total = 0
        self.reload()

    def reload(self) -> Json | None:
        """Open the page anew; return the record shown."""
        self._held, self._answered, self._number = {}, set(), 1
        records, self._total = self.annotator.pending(self.link, 0, MANY)
        self._hold(records, 1)
        self.current = self._at(1)
        return self.current

    def submit(self, answer: Answer) -> Response:
        """Submit an answer to the record shown, and go on to the next. Raises LookupError if none is shown."""
        return self.stored(self.annotator.submit(self._shown(), answer))

    def discard(self) -> Response:
        """Discard the record shown, and go on to the next. Raises LookupError if none is shown."""
        return self.stored(self.annotator.discard(self._shown()))

    def draft(self, answer: Answer) -> Response:
        """Save a draft and stay on the record. Raises LookupError if none is shown."""
        shown = self._shown()
        response = self.annotator.draft(shown, answer)
        shown["responses"] = [response.body]
        self._answered.add(shown["id"])
        return response

    def stored(self, response: Response) -> Response:
        """Go on to the next record after ``response``, an answer to the record shown: what Submit and Discard end with.

        The answer stands, even if the fetch that may follow raises.
        """
        self._answered.add(response.record)
        self.forward()
        return response

    def forward(self) -> Json | None:
        """Go to the next record without an answer to this one; return the record shown."""
        self._number += 1
        if self._at(self._number) is None:
            self._fetch(self._number)
        ahead = sum(number > self._number for number, _ in self._held.values())
        if self._held and self._total != self._last and ahead <= BUFFER:
            self._fetch(self._last + 1)
        self.current = self._at(self._number)
        return self.current

    @property
    def held(self) -> list[str]:
        """Ids of the records that the page has and has not yet shown, in the order in which it will show them."""
        ahead = [(number, uid) for uid, (number, _) in self._held.items() if number > self._number]
        return [uid for _, uid in sorted(ahead)]

    @property
    def _last(self) -> int:
        return max(number for number, _ in self._held.values())

    def _shown(self) -> Json:
        if self.current is None:
            raise LookupError("the page shows no record")
        return self.current

    def _at(self, number: int) -> Json | None:
        return next((record for held, record in self._held.values() if held == number), None)

    def _fetch(self, number: int) -> None:
        """Fetch records to stand at ``number`` and on. Those answered are no longer in the list."""
        beyond = bool(self._held) and number > self._last
        offset = number - 1 - (len(self._answered) if beyond else 0)
        records, _ = self.annotator.pending(self.link, max(0, offset), MANY)
        self._hold(records, number)

    def _hold(self, records: list[Json], first: int) -> None:
        """Number ``records`` from ``first``. One that the page has already gets a new number and leaves a hole."""
        for number, record in enumerate(records, first):
            self._held[record["id"]] = (number, record)
