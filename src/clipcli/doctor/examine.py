"""An examination of the installation: what is here, is it whole, does it answer rightly?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from clipcli.doctor.environment import caches, codecs, device, versions
from clipcli.doctor.findings import Examination, Section
from clipcli.doctor.inventory import models
from clipcli.doctor.selftest import engines, published_answers, self_test


def examine(images: Path | None, tell: Callable[[str], None]) -> Examination:
    """Look at everything. Nothing is downloaded, and nothing that is broken ends it.

    Args:
        images: the folder of the images whose answers are published; None where there is none.
        tell: called with a line for each step that takes a while.
    """
    tell("looking at the environment")
    facts = [Section("versions", versions()), Section("device", device())]
    decoders, places = Section("codecs", codecs()), Section("caches", caches())
    tell("loading the engines")
    checks, loaded = engines()
    tell("reading the models' files")
    present = Section("models", models())
    tell("asking for known answers")
    own, published = self_test(loaded), published_answers(loaded, images)
    return Examination(
        [
            *facts,
            Section("engines", checks),
            decoders,
            places,
            present,
            Section("self test", own),
            Section("published answers", published),
        ]
    )
