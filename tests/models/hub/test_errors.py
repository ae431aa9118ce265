"""Why a download failed, in one line without secrets; and whether another attempt may help."""

import errno
from types import SimpleNamespace

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from clipcli.models.hub.cache import HubFile
from clipcli.models.hub.errors import WrongBytesError, pause_after, reason

WANTED = HubFile("org/name", "a.txt")


def answered(status, **headers):
    error = Exception("it answered")
    error.response = SimpleNamespace(status_code=status, headers=headers)
    return error


def wrapped(cause):
    error = LocalEntryNotFoundError("not found here either")
    error.__cause__ = cause
    return error


# As the client's HTTP libraries name them.
class NetworkError(Exception):
    pass


class ConnectError(NetworkError):
    pass


class TimeoutException(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("https://a.test/b?key=secret&more\n 403"), "https://a.test/b 403"),
        (TimeoutException("timed out."), "timed out"),
        (wrapped(ConnectError("[Errno 111] refused")), "[Errno 111] refused"),
        (LocalEntryNotFoundError("not found"), "not found"),
        (NetworkError(), "NetworkError"),
        (answered(503), "the hub answered 503"),
        (answered(429, **{"Retry-After": "9"}), "the hub answered 429, and asks to wait 9 s"),
        (OSError("Consistency check failed"), "what was downloaded is not as long as it should be"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/cache/x"),
            "cannot write /cache/x (No space left on device): set HF_HOME to a folder that can"
            " take it",
        ),
    ],
)
def test_a_reason_is_one_line_without_keys(error, words):
    assert reason(error, WANTED) == words


@pytest.mark.parametrize(
    ("error", "pauses"),
    [
        (NetworkError(), [1, 2, 4]),
        (RuntimeError(), [1, 2, 4]),
        (OSError("too short"), [1, 2, 4]),
        (answered(500), [1, 2, 4]),
        (answered(408, **{"Retry-After": "soon"}), [1, 2, 4]),
        (wrapped(answered(429, **{"Retry-After": "120"})), [120] * 3),
        (WrongBytesError(), [0, None, None]),
        (answered(429, **{"Retry-After": "121"}), [None] * 3),
        (answered(404), [None] * 3),
        (ConnectError(), [None] * 3),
        (TimeoutException(), [None] * 3),
        (OSError(errno.ENOSPC, "No space left on device"), [None] * 3),
        (ValueError(), [None] * 3),
    ],
)
def test_another_attempt_is_made_only_where_it_may_help(error, pauses):
    assert [pause_after(error, attempt) for attempt in (1, 2, 3)] == pauses
