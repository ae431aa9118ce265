"""Where the embeddings of a file come from, as JSON beside them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from clipcli.images.options import FITS, Fit
from clipcli.version import __version__

if TYPE_CHECKING:
    from clipcli.engines.base import ModelInfo
    from clipcli.images.options import ImageOptions

FORMAT_VERSION = 1
"""Goes up when older versions of clipcli would misread a file; new fields alone do not."""

MAX_DESCRIPTION_BYTES = 1 << 16
# No model's embeddings are wider than some thousands; the bound keeps a block's memory in check.
_MAX_EMBED_DIM = 1 << 16


@dataclass(frozen=True)
class Description:
    """Where the embeddings of a file come from; the JSON beside them.

    Attributes:
        model: canonical name.
        fingerprint: of its weights, configuration and precision.
        embed_dim: width of the embeddings.
        engine: that computed them, and its device, for people.
        precision: of the model's arithmetic.
        preprocess: `plain` or `reference`, as in `--preprocess`.
        fast_decode: whether large JPEG photos were decoded at a fraction of their size.
        fit: how pictures were brought into the model's shape, as in `--fit`.
        clipcli: version that wrote the file.
        format: version of the file's layout.
    """

    model: str
    fingerprint: str
    embed_dim: int
    engine: str
    precision: str = "fp32"
    preprocess: str = "plain"
    fast_decode: bool = False
    fit: Fit = "crop"
    clipcli: str = __version__
    format: int = FORMAT_VERSION

    @classmethod
    def of(cls, info: ModelInfo, precision: str, images: ImageOptions) -> Description:
        """The description of what a loaded model, of some precision, makes of images."""
        return cls(
            model=info.name,
            fingerprint=info.fingerprint,
            embed_dim=info.embed_dim,
            engine=info.engine,
            precision=precision,
            preprocess=images.preprocessing,
            fast_decode=images.fast_decode,
            fit=info.preprocess.fitted(images.fit).fit,
        )

    def to_json(self) -> bytes:
        """ASCII, so that every reader agrees on it."""
        return json.dumps(asdict(self)).encode("ascii")

    @classmethod
    def from_json(cls, text: bytes) -> Description:
        """Read a description; fields that are not known here are passed over.

        Raises:
            ValueError: it is no description, or one of a later format.
        """
        content = _json_object(text)
        if type(content.get("format")) is int and content["format"] > FORMAT_VERSION:
            raise ValueError(f"it is of format {content['format']}, which a later clipcli writes")
        known: dict[str, Any] = {field.name: content.get(field.name) for field in fields(cls)}
        for name, value in known.items():
            # Not isinstance(): True is an int, too.
            if type(value) is not _KINDS[name]:
                raise ValueError(f"its description has no {name}, or one of a wrong type")
        if content["fit"] not in FITS:
            raise ValueError("its description names a way to fit pictures that is not known here")
        if not 0 < content["embed_dim"] <= _MAX_EMBED_DIM or content["format"] < 1:
            raise ValueError("its description holds an impossible number")
        return cls(**known)


_KINDS: dict[str, type] = {
    **dict.fromkeys(("model", "fingerprint", "engine", "precision", "preprocess", "clipcli"), str),
    **dict.fromkeys(("embed_dim", "format"), int),
    "fast_decode": bool,
    "fit": str,
}


def _json_object(text: bytes) -> dict[str, Any]:
    if len(text) > MAX_DESCRIPTION_BYTES:
        raise ValueError("its description is too long")
    try:
        content = json.loads(text)
        # JSON can escape half a character, which no output could take.
        json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ValueError("its description is not JSON") from error
    if not isinstance(content, dict):
        raise ValueError("its description is not a JSON object")
    return content
