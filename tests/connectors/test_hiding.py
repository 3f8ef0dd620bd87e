"""What is secret of an address is found, and shown nowhere."""

from __future__ import annotations

import pytest

from nextlabel.connectors.argilla.client import Client as ArgillaClient
from nextlabel.connectors.errors import ConfigError
from nextlabel.connectors.hiding import Mask, secrets_in, shown
from nextlabel.connectors.label_studio.client import Client as LabelStudioClient

ADDRESSES = {
    "http://proxy:S3cret%21Word@host:80/a": ["S3cret%21Word", "S3cret!Word"],
    "https://host/a.csv?X-Signature=abc%2Bdef&v=1#top": ["abc%2Bdef", "1", "abc+def"],
    "postgresql://nextlabel:geheim@db/store?password=another": ["geheim", "another"],
    "https://only-a-token@host/": ["only-a-token"],
    "/data/store.sqlite": [],
    "": [],
}


@pytest.mark.parametrize(("address", "secrets"), ADDRESSES.items())
def test_what_is_secret_of_an_address(address: str, secrets: list[str]) -> None:
    assert secrets_in(address) == secrets
    assert not any(secret in shown(address) for secret in secrets if len(secret) > 1)


def test_the_rest_of_it_is_shown() -> None:
    assert shown("http://proxy:word@host:80/a?b=c") == "http://host:80/a"
    assert shown("http://[::1]:80/a") == "http://[::1]:80/a"
    assert "word" not in shown("http://proxy:word@[host/")


def test_the_longest_is_masked_first_and_short_ones_are_words() -> None:
    mask = Mask(["secret", "secret-and-more", "pw"])
    assert mask("secret-and-more, secret, pw") == "***, ***, pw"
    mask.clear()
    assert mask("secret") == "secret"


def test_user_and_password_of_a_platform_are_used_and_not_shown() -> None:
    client = ArgillaClient("http://proxy:S3cretWord@127.0.0.1:6900/under", "a-key")
    request = client._http.build_request("GET", f"{client.url}/api")
    sent = next(client._http._auth.sync_auth_flow(request)) if client._http._auth else request
    assert sent.headers["Authorization"].startswith("Basic ")
    assert client.url == "http://127.0.0.1:6900/under"
    assert "S3cret" not in repr(client)
    client.close()


@pytest.mark.parametrize("url", ["http://proxy:S3cretWord@127.0.0.1:8080", "http://127.0.0.1:8080?token=S3cretWord"])
def test_what_can_not_be_sent_beside_a_token_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LabelStudioClient(url, "a-token")
    assert "S3cret" not in str(caught.value)
