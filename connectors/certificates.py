"""Whose certificates are believed, wherever nextlabel asks another machine."""

from __future__ import annotations

import os
import ssl
from functools import cache
from pathlib import Path
from typing import Final

from nextlabel.connectors.errors import ConfigError

CA_VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""What other programs are told a company's own certificates by."""


def trusted() -> ssl.SSLContext:
    """What the public and this machine believe, and besides the files or folders that the environment names.

    httpx by itself believes a file in SSL_CERT_FILE and nothing else, and neither this machine's certificates nor
    REQUESTS_CA_BUNDLE. Raises ConfigError if what is named can't be read.
    """
    return _context(tuple((name, place) for name in CA_VARIABLES if (place := os.environ.get(name))))


@cache
def _context(named: tuple[tuple[str, str], ...]) -> ssl.SSLContext:
    import httpx

    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    for name, place in named:
        try:
            context.load_verify_locations(**{"capath" if Path(place).is_dir() else "cafile": place})
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(f"{name} is {place!r}, which can't be read as certificates ({error})") from None
    return context


def hint(error: Exception) -> str:
    """What to do where ``error`` says that a certificate is not believed; else empty. To be put after the error."""
    if "CERTIFICATE_VERIFY_FAILED" not in str(error):
        return ""
    return "; where a company signs its certificates itself, name the file with its own in SSL_CERT_FILE"
