"""Zero-shot image classification with CLIP: which of these texts fits this image?

>>> from clipcli import Classifier
>>> Classifier("tiny").classify("cat.jpg", ["a cat", "a dog"])  # doctest: +SKIP
[Prediction('cat.jpg': 'a cat', 0.9940)]

What can be imported from here is public. The modules and packages below are private: they may
change with every version, and so may whatever is found in them and not here.
"""

from __future__ import annotations

# Not typing's: the command hears signals when this is imported, and not before.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from clipcli.adaptation.api import AdapterReport, adapt
    from clipcli.adaptation.options import AdaptOptions
    from clipcli.api import Classifier
    from clipcli.embeddings.mapped import Embeddings, read_embeddings
    from clipcli.engines.base import ModelInfo
    from clipcli.errors import (
        ClipcliError,
        ClipcliWarning,
        FailureCode,
        InputError,
        ModelError,
        UsageError,
    )
    from clipcli.heads.results import Failure, LabelScore, Prediction
    from clipcli.images.options import ImageOptions
    from clipcli.images.web.options import FetchOptions
    from clipcli.models.specs import ModelRequest
    from clipcli.runs.options import PipelineOptions
    from clipcli.version import __version__

__all__ = [
    "AdaptOptions",
    "AdapterReport",
    "Classifier",
    "ClipcliError",
    "ClipcliWarning",
    "Embeddings",
    "Failure",
    "FailureCode",
    "FetchOptions",
    "ImageOptions",
    "InputError",
    "LabelScore",
    "ModelError",
    "ModelInfo",
    "ModelRequest",
    "PipelineOptions",
    "Prediction",
    "UsageError",
    "__version__",
    "adapt",
    "read_embeddings",
]

# Where each public name lives; a name is imported when it is first asked for.
_HOMES = {
    "AdaptOptions": "clipcli.adaptation.options",
    "AdapterReport": "clipcli.adaptation.api",
    "Classifier": "clipcli.api",
    "ClipcliError": "clipcli.errors",
    "ClipcliWarning": "clipcli.errors",
    "Embeddings": "clipcli.embeddings.mapped",
    "Failure": "clipcli.heads.results",
    "FailureCode": "clipcli.errors",
    "FetchOptions": "clipcli.images.web.options",
    "ImageOptions": "clipcli.images.options",
    "InputError": "clipcli.errors",
    "LabelScore": "clipcli.heads.results",
    "ModelError": "clipcli.errors",
    "ModelInfo": "clipcli.engines.base",
    "ModelRequest": "clipcli.models.specs",
    "PipelineOptions": "clipcli.runs.options",
    "Prediction": "clipcli.heads.results",
    "UsageError": "clipcli.errors",
    "__version__": "clipcli.version",
    "adapt": "clipcli.adaptation.api",
    "read_embeddings": "clipcli.embeddings.mapped",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Import a public name when it is first used: the command line needs none of them."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'clipcli' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    if isinstance(value, type):
        _publish(value)
    elif callable(value):
        value.__module__ = __name__
    globals()[name] = value
    return value


def _publish(value: type) -> None:
    """Let a class say that it is of this module, and not where in it."""
    from contextlib import suppress
    from typing import get_type_hints

    # While its own module is still known: there its annotations mean something.
    with suppress(NameError):
        value.__annotations__ = get_type_hints(value)
    value.__module__ = __name__


def __dir__() -> list[str]:
    return __all__
