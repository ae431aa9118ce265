"""What the tests of downloads share: short limits, a failure's form, a trusted authority."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests.adapters
from web_server import WebServer, authority

from clipcli.errors import InputError
from clipcli.images.web.fetch import fetch
from clipcli.images.web.options import FetchOptions


def options_for(*servers: WebServer, **changes: Any) -> FetchOptions:
    """Options that allow these servers only, with limits short enough for a test."""
    limits = FetchOptions(
        allowed_hosts=frozenset(server.host for server in servers),
        max_bytes=100_000,
        connect_seconds=2,
        read_seconds=2,
        total_seconds=5,
        backoff_seconds=0.001,
    )
    return replace(limits, **changes)


def failure(url: str, options: FetchOptions) -> InputError:
    """The failure of a download, its message one clear line."""
    with pytest.raises(InputError) as caught:
        fetch(url, options)
    message = caught.value.message
    assert message
    assert message.isprintable()
    assert len(message) < 320
    assert not re.search(r"[a-z](Error|Exception)\b|<|object at|_ssl\.c|urllib3|None", message)
    return caught.value


def trust_test_servers(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """The test servers' authority counts as if it were the world's."""
    file = folder / "authorities.pem"
    authority().cert_pem.write_to_path(str(file))
    monkeypatch.setattr(requests.adapters, "DEFAULT_CA_BUNDLE_PATH", str(file))
