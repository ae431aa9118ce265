"""The proxy that the user named: what it may look like, and how it is spoken of."""

from __future__ import annotations

import re
from base64 import b64encode
from urllib.parse import unquote_to_bytes, urlsplit

from clipcli.errors import UsageError

# User info and host as RFC 3986, sections 3.2.1 and 3.2.2, spell them: what another reader of the
# address could understand otherwise is not accepted.
_PROXY = re.compile(
    r"https?://(?:[a-z0-9._~!$&'()*+,;=:%-]*@)?(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]+)?/?",
    re.IGNORECASE | re.ASCII,
)


def check_proxy(proxy: str) -> None:
    """Refuse what is no address of a proxy.

    Raises:
        UsageError: it is not `http(s)://[NAME:PASSWORD@]HOST[:PORT]`.
    """
    try:
        if _PROXY.fullmatch(proxy) and urlsplit(proxy).port != 0:
            return
    except ValueError:  # the port is too large, the IPv6 address none
        pass
    # Without what was given: where it is not understood, it is not known what of it is secret.
    raise UsageError(
        "--proxy must be http://HOST[:PORT] or https://HOST[:PORT]; NAME:PASSWORD@ may stand before"
        " HOST, other characters than letters and digits as %XX"
    )


def public_proxy(proxy: str) -> str:
    """A proxy's address without user name and password, fit to be shown."""
    parts = urlsplit(proxy)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def through(proxy: str | None) -> str:
    """What a message says after a failure that may be the proxy's or the server's; may be empty."""
    return "" if proxy is None else f" (through the proxy {public_proxy(proxy)})"


def proxy_authorization(proxy: str) -> dict[str, str]:
    """The header that a proxy knows its user by (RFC 7617), none where the address names none."""
    user_info, at, _ = urlsplit(proxy).netloc.rpartition("@")
    if not at:
        return {}
    name, _, password = user_info.partition(":")
    credentials = unquote_to_bytes(name) + b":" + unquote_to_bytes(password)
    return {"Proxy-Authorization": f"Basic {b64encode(credentials).decode()}"}
