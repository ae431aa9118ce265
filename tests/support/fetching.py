"""What the tests of downloads share: their limits, a clock, a failure's form, an authority."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests.adapters
from command import PATIENCE
from web_server import WebServer, authority

from clipcli.errors import InputError
from clipcli.images.web import connections
from clipcli.images.web.fetch import fetch
from clipcli.images.web.options import FetchOptions


def options_for(*servers: WebServer, **changes: Any) -> FetchOptions:
    """Options that allow these servers only, with times that no machine is too busy for."""
    limits = FetchOptions(
        allowed_hosts=frozenset(server.host for server in servers),
        max_bytes=100_000,
        connect_seconds=PATIENCE,
        read_seconds=PATIENCE,
        total_seconds=PATIENCE,
        backoff_seconds=0.001,
    )
    return replace(limits, **changes)


class Clock:
    """The time of the downloads' deadlines: it stands still until a test lets it go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._now = 0.0
        self._timers: list[_Timer] = []
        self._lock = threading.Lock()
        time = SimpleNamespace(monotonic=lambda: self._now)
        threads = SimpleNamespace(Timer=self._timer, Lock=threading.Lock)
        monkeypatch.setattr(connections, "time", time)
        monkeypatch.setattr(connections, "threading", threads)

    def go_on(self, seconds: float) -> None:
        """Let so many seconds go by, and happen what is due then."""
        with self._lock:
            self._now += seconds
            due = [timer for timer in self._timers if timer.end <= self._now]
            self._timers = [timer for timer in self._timers if timer not in due]
        for timer in due:
            timer.function()

    def _timer(self, seconds: float, function: Callable[[], None]) -> _Timer:
        return _Timer(self, self._now + seconds, function)


class _Timer:
    """As far as a deadline makes use of one."""

    def __init__(self, clock: Clock, end: float, function: Callable[[], None]) -> None:
        self.end, self.function = end, function
        self._clock = clock

    def start(self) -> None:
        with self._clock._lock:
            self._clock._timers.append(self)

    def cancel(self) -> None:
        with self._clock._lock, suppress(ValueError):
            self._clock._timers.remove(self)


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
