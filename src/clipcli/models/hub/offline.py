"""The hub's client, kept offline for as long as a model is loaded, and in one thread alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clipcli.process import ProcessLock

_ALONE = ProcessLock()


class _OfflineHere:
    """True in the thread that made it, until it is over; elsewhere what was so before."""

    def __init__(self, before: object) -> None:
        self._before = before
        self._thread: int | None = threading.get_ident()

    def __bool__(self) -> bool:
        return self._thread == threading.get_ident() or bool(self._before)

    def end(self) -> None:
        self._thread = None


@contextmanager
def client_offline() -> Iterator[None]:
    """Let no library (transformers, say) reach the hub by its client.

    The client reads HF_HUB_OFFLINE at its import and never again: set for one model, it would
    count for all that come later, and for the host program's own downloads.
    """
    from huggingface_hub import constants

    client: Any = constants
    with _ALONE:
        before = client.HF_HUB_OFFLINE
        here = client.HF_HUB_OFFLINE = _OfflineHere(before)
        try:
            yield
        finally:
            here.end()  # whoever has kept it
            client.HF_HUB_OFFLINE = before
