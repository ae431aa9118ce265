"""Images of folders, embedded once: next time only new and changed files go through the engine."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clipcli.embeddings.rows import Block
from clipcli.runs.pipeline import encode

if TYPE_CHECKING:
    from clipcli.arrays import Float32
    from clipcli.engines.base import Engine
    from clipcli.errors import InputError
    from clipcli.heads.text_cache import TextCache
    from clipcli.images.options import ImageOptions
    from clipcli.images.sources import ImageRef
    from clipcli.runs.options import PipelineOptions

# Kept when they are done, so that a run that is cut need not begin anew.
_IMAGES_AT_ONCE = 256


def embedded(
    refs: Iterable[ImageRef], engine: Engine, options: PipelineOptions, cache: TextCache | None
) -> Iterator[Block]:
    """Images with their embeddings, in blocks of their order.

    A file is known again by its path, its size and the time of its last change; by these and by
    how it is read it is kept in the cache.

    Args:
        refs: files; whatever else is there is a failure, or encoded each time.
        engine: the model.
        options: how images go through it.
        cache: of embeddings of pictures; None to keep none.
    """
    rest = iter(refs)
    while part := list(islice(rest, _IMAGES_AT_ONCE)):
        yield _embedded(part, engine, options, cache)


def _embedded(
    refs: Sequence[ImageRef], engine: Engine, options: PipelineOptions, cache: TextCache | None
) -> Block:
    info = engine.info
    # Before they are read: one that changes meanwhile is read again next time.
    keys = [_key(ref, options.images) for ref in refs]
    known = cache.read(info.fingerprint, list(filter(None, keys)), info.embed_dim) if cache else {}
    rows = np.zeros((len(refs), info.embed_dim), np.float32)
    missing: list[int] = []
    for place, key in enumerate(keys):
        row = known.get(key or "")
        if row is None:
            missing.append(place)
        else:
            rows[place] = row
    failures = _encode(refs, missing, rows, engine, options)
    fresh = {keys[place]: rows[place] for place in missing if place not in failures}
    if cache:
        cache.write(info.fingerprint, {key: row for key, row in fresh.items() if key is not None})
    return Block(refs, rows, failures)


def _encode(
    refs: Sequence[ImageRef],
    places: Sequence[int],
    rows: Float32,
    engine: Engine,
    options: PipelineOptions,
) -> dict[int, InputError]:
    """Fill some rows; where there is none, why."""
    failures, rest = {}, iter(places)
    for block in encode([refs[place] for place in places], engine, options):
        for number, place in enumerate(islice(rest, len(block.refs))):
            if number in block.failures:
                failures[place] = block.failures[number]
            elif block.embeddings is not None:
                rows[place] = block.embeddings[number]
    return failures


def _key(ref: ImageRef, images: ImageOptions) -> str | None:
    """What a file is known by; None where it is none, or is gone."""
    if not isinstance(ref.source, Path):
        return None
    try:
        status = ref.source.stat()
    except (OSError, ValueError):
        return None
    path = base64.b64encode(os.fsencode(ref.source.absolute())).decode()
    read = [images.preprocessing, images.fit, images.fast_decode, images.allow_truncated]
    return json.dumps([path, status.st_size, status.st_mtime_ns, *read])
