"""Offline for one model is offline for that one alone."""

from __future__ import annotations

import os
from contextlib import suppress
from threading import Barrier, Thread

import pytest
from command import PATIENCE
from huggingface_hub import constants, get_session
from huggingface_hub.errors import OfflineModeIsEnabled

from clipcli import Classifier, ModelRequest
from clipcli.errors import ModelError
from clipcli.models.hub.offline import client_offline

ADDRESS = "http://127.0.0.1:9/nobody/is/there"


def refusal() -> type[Exception]:
    """What the client answers to a request: that it is offline, or that nobody is there."""
    with pytest.raises(Exception) as caught:  # noqa: PT011
        get_session().get(ADDRESS)
    return caught.type


def test_the_client_is_offline_meanwhile_and_as_it_was_afterwards() -> None:
    with suppress(ZeroDivisionError), client_offline():
        assert refusal() is OfflineModeIsEnabled
        assert constants.is_offline_mode()
        raise ZeroDivisionError
    assert constants.HF_HUB_OFFLINE is False
    assert refusal() is not OfflineModeIsEnabled


def test_other_threads_go_on() -> None:
    offline, done = Barrier(2), Barrier(2)
    seen = []

    def look() -> None:
        offline.wait(PATIENCE)
        seen.append(refusal())
        done.wait(PATIENCE)

    thread = Thread(target=look)
    thread.start()
    with client_offline():
        offline.wait(PATIENCE)
        done.wait(PATIENCE)
    thread.join(PATIENCE)
    assert len(seen) == 1
    assert seen[0] is not OfflineModeIsEnabled


def test_who_keeps_the_answer_is_not_offline_for_ever() -> None:
    with client_offline():
        kept = constants.HF_HUB_OFFLINE
        assert kept
    assert not kept


def test_a_host_that_is_offline_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with client_offline():
        assert constants.is_offline_mode()
    assert constants.HF_HUB_OFFLINE is True


@pytest.mark.parametrize("name", ["tiny", "hf-hub:nobody/nothing"])
def test_a_classifier_is_offline_alone(name: str) -> None:
    request = ModelRequest(name, offline=True)
    if name == "tiny":
        Classifier(request, engine="torch")
    else:
        with pytest.raises(ModelError):
            Classifier(request, engine="torch")
    assert constants.HF_HUB_OFFLINE is False
    assert "HF_HUB_OFFLINE" not in os.environ
    assert refusal() is not OfflineModeIsEnabled
