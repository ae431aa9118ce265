"""Torch's switches: as clipcli wants them while it computes, as the host had them afterwards."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch_settings
from command import PATIENCE, clean_environment

from clipcli.engines.torch.switches import silence


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, object]]:
    """What became of each host's settings; once told, some of torch's never forget."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", str(Path(torch_settings.__file__))],
        env=clean_environment(),
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    return {line["host"]: line for line in lines}


@pytest.mark.parametrize("host", torch_settings.HOSTS)
def test_they_are_lent_and_put_back(found: dict[str, dict[str, object]], host: str) -> None:
    assert found[host]["within"] == [["ieee"], "highest", False, "torch.float32"]
    assert found[host]["changed"] == []


def test_silence_leaves_logging_as_it_was() -> None:
    root, handlers = logging.getLogger(), list(logging.getLogger().handlers)
    for level in (logging.NOTSET, logging.CRITICAL):
        logging.disable(level)
        try:
            with silence():
                logging.warning("as open_clip does")
                assert logging.root.manager.disable >= logging.ERROR
            assert logging.root.manager.disable == level
        finally:
            logging.disable(logging.NOTSET)
    assert root.handlers == handlers
