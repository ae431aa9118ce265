"""Images whose embeddings are known already, scored, and shown where pictures are wanted."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from clipcli.embeddings.rows import Block
from clipcli.engines.hardware import available_cpus
from clipcli.heads.results import Result
from clipcli.runs.lookahead import LookAhead
from clipcli.runs.options import PipelineOptions
from clipcli.runs.pipeline import score

if TYPE_CHECKING:
    from clipcli.embeddings.base import EmbeddingsFile
    from clipcli.heads.zero_shot import ZeroShotHead
    from clipcli.images.preprocessing import PreprocessConfig

EMBEDDINGS_AT_ONCE = 1024
"""Rows that are scored together: four megabytes with 1,024 numbers a row."""


def rescore(
    file: EmbeddingsFile, head: ZeroShotHead, config: PreprocessConfig, options: PipelineOptions
) -> Iterator[Sequence[Result]]:
    """Score the images of a file of embeddings, in the file's order, until `options.stop`.

    Args:
        file: of the head's model.
        head: the labels.
        config: how the model wants its pixels.
        options: what of the scores is kept, who takes thumbnails, and how images are read for them.

    Yields:
        The results of some images together.

    Raises:
        UsageError: the file is damaged.
    """
    if options.thumbnails is None:
        blocks = file.blocks(EMBEDDINGS_AT_ONCE)
    else:
        # What of a picture was looked at, the file knows.
        fitted = config.fitted(file.description.fit)
        images = replace(options.images, reference=False, fit=None)
        options = replace(options, images=images)
        blocks = with_thumbnails(file.blocks(options.batch_size), fitted, options)
    threads = available_cpus()
    waiting: deque[Future[Sequence[Result]]] = deque()
    # NumPy holds no lock while it multiplies; blocks are read and written in between.
    with ThreadPoolExecutor(threads, "scoring") as pool:
        for block in blocks:
            if options.stop.is_set():
                break
            waiting.append(pool.submit(score, block, head, options.scores))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def with_thumbnails(
    blocks: Iterable[Block], config: PreprocessConfig, options: PipelineOptions
) -> Iterator[Block]:
    """Blocks of embeddings, each passed on when its images' thumbnails are made.

    An image whose name is no longer that of a file has none.

    Args:
        blocks: images and their embeddings, as a file of embeddings gives them.
        config: of the model.
        options: how images are read, and who takes their thumbnails.
    """
    # In order, whatever the run's is: a block is whole before its results are.
    with LookAhead(config, replace(options, ordered=True)) as ahead:
        for block in blocks:
            for ref in block.refs:
                # Whoever made the embeddings may have named a pipe, for which reading would wait,
                # or what no file can be called, for which Path.is_file raises.
                if os.path.isfile(ref.name):
                    ahead.submit(replace(ref, source=Path(ref.name)))
            ahead.take(len(block.refs))
            yield block
