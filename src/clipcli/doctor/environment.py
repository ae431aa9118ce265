"""What clipcli runs on: versions, the machine, decoders, caches."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from clipcli.disk.paths import bundles_folder, text_cache_file
from clipcli.doctor.findings import Check, Fact, Outcome, reason
from clipcli.engines.hardware import (
    available_cpus,
    available_memory,
    cuda_available,
    cuda_trouble,
)
from clipcli.images.formats import EXTRA_FORMATS, USUAL_FORMATS
from clipcli.models.hub.cache import cache_root
from clipcli.runs.provenance import library_versions, provenance

# They have no part in the numbers; their faults look like the model's all the same.
_MORE_LIBRARIES = ("huggingface-hub", "onnx", "onnxscript", "requests", "safetensors", "urllib3")

# Pillow's names of what decodes a format; GIF and BMP need nothing.
_DECODERS = {
    "JPEG": "jpg",
    "PNG": "zlib",
    "WEBP": "webp",
    "TIFF": "libtiff",
    "AVIF": "avif",
    "JPEG2000": "jpg_2000",
}


def versions() -> list[Fact]:
    """The versions of clipcli, Python, the libraries that are installed, and the machine's kind."""
    found = {**provenance(), **library_versions(_MORE_LIBRARIES)}
    return [Fact(name, version, version) for name, version in found.items()]


def device() -> list[Fact]:
    """What there is to compute with."""
    processors, memory = available_cpus(), available_memory()
    cuda, trouble = cuda_available(), cuda_trouble()
    return [
        Fact("processors", f"{processors} for this process", processors),
        Fact("memory", "unknown" if memory is None else _size(memory), memory),
        Fact("cuda", "yes" if cuda else f"no{trouble and f': {trouble}'}", cuda),
    ]


def codecs() -> list[Check]:
    """Which formats of images can be decoded; the usual ones must be."""
    names = [*USUAL_FORMATS, *EXTRA_FORMATS.values()]
    return [*(_codec(name) for name in names), _heif()]


def caches() -> list[Fact]:
    """Where things are kept, and how much."""
    places: dict[str, Callable[[], Path]] = {
        "prepared models": bundles_folder,
        "text embeddings": text_cache_file,
        "model hub": cache_root,
    }
    return [_cache(name, place()) for name, place in places.items()]


def _codec(name: str) -> Check:
    decoder = _DECODERS.get(name)
    try:
        from PIL import features

        is_there = decoder is None or bool(features.check(decoder))
    except Exception as error:  # noqa: BLE001  a broken Pillow, whatever breaks in it
        return Check(name, Outcome.FAILED, reason(error))
    if is_there:
        return Check(name, Outcome.OK, "")
    is_usual = name in USUAL_FORMATS
    return Check(name, Outcome.FAILED if is_usual else Outcome.NOT_RUN, "this Pillow lacks it")


def _heif() -> Check:
    """A plug-in's matter."""
    try:
        from pillow_heif import libheif_info

        return Check("HEIF", Outcome.OK, f"libheif {libheif_info()['libheif']}")
    except ModuleNotFoundError:
        missing = "the extra 'heif' is not installed (pip install 'clipcli[heif]')"
        return Check("HEIF", Outcome.NOT_RUN, missing)
    except Exception as error:  # noqa: BLE001  it is installed, and broken
        return Check("HEIF", Outcome.FAILED, reason(error))


def _cache(name: str, place: Path) -> Fact:
    size = sum(_file_sizes(place))
    return Fact(name, f"{_size(size)}  {place}", {"path": str(place), "bytes": size})


def _file_sizes(place: Path) -> Iterator[int]:
    """Bytes of a file, or of each file of a folder; links, which the hub's cache is full of, no."""
    paths = [place]
    if place.is_dir():
        paths = [Path(folder, name) for folder, _, names in os.walk(place) for name in names]
    for path in paths:
        try:
            status = path.lstat()
        except OSError:  # not there, or gone in the meantime
            continue
        if stat.S_ISREG(status.st_mode):
            yield status.st_size


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
