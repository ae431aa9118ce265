"""The versions of everything that has a part in the numbers."""

from __future__ import annotations

import platform
from collections.abc import Iterable

from clipcli.version import __version__

# Decoding and resizing, splitting and encoding of texts, the towers, what runs them.
_LIBRARIES = (
    "numpy",
    "pillow",
    "pillow-heif",
    "ftfy",
    "regex",
    "tokenizers",
    "transformers",
    "onnxruntime",
    "torch",
    "open-clip-torch",
    "timm",
)


def provenance() -> dict[str, str]:
    """The versions of clipcli, Python and the libraries that are installed, and the machine's kind.

    Read from the packages' own records: nothing is imported.
    """
    versions = {"clipcli": __version__, "python": platform.python_version()}
    versions.update(library_versions(_LIBRARIES))
    return {**versions, "machine": platform.machine(), "system": platform.system()}


def library_versions(names: Iterable[str]) -> dict[str, str]:
    """The versions of those of some packages that are installed."""
    # It takes a hundredth of a second, which most starts need not spend.
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # an installation may leave an engine or an extra out
            continue
    return versions
