"""Decoders that hang, die or talk nonsense when an image's bytes tell them to."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager

import pytest
from command import PATIENCE

from clipcli.images import isolation

# A worker whose decoder does what the image's bytes tell it to, where they begin with `do:`.
OBEDIENT = """
import os, sys, time
sys.path[:] = sys.argv[1:]
from clipcli.errors import FailureCode, InputError
from clipcli.images import decoding

def say(text):
    raise InputError(FailureCode.DAMAGED, str(text))

decode = decoding.decode_marked

def obey(data, config, options):
    if data.startswith(b"do:"):
        exec(data[3:], globals())
    return decode(data, config, options)

decoding.decode_marked = obey
from clipcli.images.worker import serve
serve()
"""


# One that takes settings and an image as it should, and answers as it should not.
TALKATIVE = """
import pickle, sys
sys.path[:] = sys.argv[1:]
stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
pickle.load(stdin)
stdout.write(b"R")
stdout.flush()
stdin.read(1 + int.from_bytes(stdin.read(8)))
stdout.write({!r})
"""
HANG = b"do:time.sleep(3600)"
ABORT = b"do:os.abort()"
PID = b"do:say(os.getpid())"


class _Unhurried(isolation._Worker):
    """Keeps to its limit where an image hangs: all others may take what a busy machine needs."""

    _hangs = False

    def decoded(self, data: bytes, thumbnails: int) -> isolation.DecodedImage:
        self._hangs = data == HANG
        return super().decoded(data, thumbnails)

    def _limit(self, seconds: float) -> AbstractContextManager[threading.Event]:
        return super()._limit(seconds if self._hangs else PATIENCE)


def obey(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on decoders do what images tell them to, and only a hanging one runs out of time."""
    monkeypatch.setattr(isolation, "_START", OBEDIENT)
    monkeypatch.setattr(isolation, "_Worker", _Unhurried)
