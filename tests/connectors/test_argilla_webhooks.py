"""Links in the guidelines, and signatures: what needs no server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from nextlabel.connectors.argilla.webhooks import END, LONGEST_GUIDELINES, START, same_address, verified, with_links

LINKS = {"ann": "http://a/dataset/1/annotation-mode?sort=metadata.queue_0a.desc", "b_b": "http://a/2"}
SECRET = "c2VjcmV0IHNlY3JldCBzZWNyZXQ="


def test_links_stand_on_top_and_what_people_wrote_stays() -> None:
    written = with_links("# Rules\n\nBe kind.\n", LINKS)
    assert written.startswith(START)
    assert written.endswith("# Rules\n\nBe kind.\n")
    assert f"- [ann]({LINKS['ann']})\n- [b\\_b](http://a/2)\n" in written
    assert with_links(written, LINKS) == written


def test_the_block_stays_where_people_moved_it() -> None:
    block = with_links("", LINKS)
    moved = f"above\n\n{block}below"
    changed = with_links(moved, {"ann": "http://new"})
    assert changed.startswith("above\n\n" + START)
    assert changed.endswith("\n\nbelow")
    assert "http://a/2" not in changed
    assert with_links(changed, LINKS) == moved


def test_no_links_leave_no_trace() -> None:
    assert with_links(with_links("Be kind.", LINKS), {}) == "Be kind."
    assert with_links("", {}) == ""


def test_a_marker_that_lost_its_other_half_costs_no_text() -> None:
    torn = f"{START}\nprecious\n" + with_links("", LINKS)
    written = with_links(torn, {"ann": "http://new"})
    assert "precious" in written
    assert written.count("http://") == 1
    assert with_links(f"precious {END}", LINKS).endswith(f"precious {END}")


def test_two_blocks_become_one() -> None:
    block = with_links("", LINKS)
    assert with_links(block + "text\n" + block, LINKS) == block + "text\n"


@pytest.mark.parametrize("people", [1, 20, 2000])
def test_guidelines_never_grow_beyond_what_argilla_takes(people: int) -> None:
    theirs = "x" * 8000
    links = {f"annotator{n}": f"http://argilla/dataset/{n}/annotation-mode?sort=metadata.q.desc" for n in range(people)}
    written = with_links(theirs, links)
    assert len(written) <= LONGEST_GUIDELINES
    assert written.endswith(theirs)
    assert "[annotator0]" in written
    assert ("more" in written) == (people > 20), "those left out are counted"
    assert with_links(written, links) == written


def test_where_there_is_no_room_the_log_says_so() -> None:
    theirs = "x" * (LONGEST_GUIDELINES - 10)
    with capture_logs() as logs:
        assert with_links(theirs, LINKS) == theirs
    assert "no room" in logs[0]["event"]


def test_addresses_are_compared_as_argilla_writes_them() -> None:
    assert same_address("http://localhost/webhook/argilla", "http://LOCALHOST:80/webhook/argilla")
    assert not same_address("http://localhost/webhook/argilla", "http://localhost:8080/webhook/argilla")


def signed(body: bytes, secret: str = SECRET, age: timedelta = timedelta(0)) -> dict[str, str]:
    from standardwebhooks import Webhook

    when = datetime.now(UTC) - age
    return {
        "Webhook-Id": "msg_1",
        "Webhook-Timestamp": str(int(when.timestamp())),
        "Webhook-Signature": Webhook(secret).sign("msg_1", when, body.decode()),
    }


def test_only_the_holder_of_the_secret_can_sign() -> None:
    body = '{"type": "ping", "what": "ü"}'.encode()
    good = signed(body)
    assert verified(["b3RoZXI=", SECRET], good, body)
    assert not verified([], good, body)
    assert not verified(["b3RoZXI="], good, body)
    assert not verified([SECRET], good, body + b" ")
    assert not verified([SECRET], {**good, "Webhook-Id": "msg_2"}, body)
    assert not verified([SECRET], {**good, "Webhook-Timestamp": str(int(good["Webhook-Timestamp"]) + 1)}, body)
    assert not verified([SECRET], signed(body, age=timedelta(minutes=6)), body)
    assert not verified([SECRET], signed(body, age=-timedelta(minutes=6)), body)


@pytest.mark.parametrize("name", ["Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"])
@pytest.mark.parametrize("value", [None, "", "v1", "v1,!", "v1,ü", "v2,abc", "nan", "1e999", "\x00", ", ,", "v1,a b"])
def test_odd_headers_are_refused_without_a_stumble(name: str, value: str | None) -> None:
    headers = {key: one for key, one in ({**signed(b"{}"), name: value}).items() if one is not None}
    assert not verified([SECRET], headers, b"{}")
    assert not verified([SECRET], headers, b"\xff\xfe")
