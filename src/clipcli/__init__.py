"""Zero-shot image classification with CLIP: which of these texts fits this image?

>>> from clipcli import Classifier
>>> Classifier("tiny").classify("cat.jpg", ["a cat", "a dog"])  # doctest: +SKIP
[Prediction(index=0, name='cat.jpg', scores=(...), answer='a cat')]
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipcli.api import Classifier
    from clipcli.errors import ClipcliError
    from clipcli.heads.results import Failure, LabelScore, Prediction
    from clipcli.models.specs import ModelRequest
    from clipcli.version import __version__

__all__ = [
    "Classifier",
    "ClipcliError",
    "Failure",
    "LabelScore",
    "ModelRequest",
    "Prediction",
    "__version__",
]

# Where each public name lives; a name is imported when it is first asked for.
_HOMES = {
    "Classifier": "clipcli.api",
    "ClipcliError": "clipcli.errors",
    "Failure": "clipcli.heads.results",
    "LabelScore": "clipcli.heads.results",
    "ModelRequest": "clipcli.models.specs",
    "Prediction": "clipcli.heads.results",
    "__version__": "clipcli.version",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Import a public name when it is first used: the command line needs none of them."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'clipcli' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
