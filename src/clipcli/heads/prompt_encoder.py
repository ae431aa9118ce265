"""Labels' prompts to embeddings, with a cache between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from clipcli.arrays import Float32
from clipcli.engines.prompts import encode_truncating
from clipcli.errors import ModelError

if TYPE_CHECKING:
    from clipcli.engines.base import Engine
    from clipcli.heads.text_cache import TextCache

_PROMPTS_IN_MEMORY = 4096


class PromptEncoder:
    """Encodes prompts, and keeps and finds them in a cache.

    Args:
        engine: the model.
        cache: where embeddings of earlier runs are looked for, and new ones are kept.

    Attributes:
        cut: the prompts that were too long for the model.
    """

    def __init__(self, engine: Engine, cache: TextCache | None) -> None:
        self._engine = engine
        self._cache = cache
        self.cut: list[str] = []

    def rows(self, labels: Sequence[Sequence[str]]) -> Iterator[Float32]:
        """For each label, named by its prompts, the unit rows of these.

        Raises:
            ModelError: they are not finite.
            UsageError: a text cannot be tokenised.
        """
        for part in _parts(labels):
            known = self._embedded(dict.fromkeys(prompt for prompts in part for prompt in prompts))
            for prompts in part:
                yield np.stack([known[prompt] for prompt in prompts])

    def _embedded(self, distinct: dict[str, None]) -> dict[str, Float32]:
        info, cache, prompts = self._engine.info, self._cache, list(distinct)
        known = cache.read(info.fingerprint, prompts, info.embed_dim) if cache else {}
        missing = [prompt for prompt in prompts if prompt not in known]
        return known | self._encoded(missing) if missing else known

    def _encoded(self, prompts: list[str]) -> dict[str, Float32]:
        info = self._engine.info
        embeddings, cut = encode_truncating(self._engine, prompts)
        # Before any of it is kept: not the images' fault, and not one label's alone.
        if not np.isfinite(embeddings).all():
            raise ModelError(
                f"{info.name} cannot be used: its embeddings of texts are not finite; the"
                " checkpoint is damaged, or its training went wrong"
            )
        new = dict(zip(prompts, embeddings, strict=True))
        if self._cache:
            # A prompt that was cut is encoded anew each time, so that each run warns of it.
            too_long = set(cut)
            kept = {prompt: row for prompt, row in new.items() if prompt not in too_long}
            self._cache.write(info.fingerprint, kept)
        self.cut += cut
        return new


def _parts(labels: Sequence[Sequence[str]]) -> Iterator[Sequence[Sequence[str]]]:
    """So many labels at a time as have few prompts enough, and at least one."""
    # A thousand labels in eighty templates would be 160 MB at once, and as much in one write.
    begin = count = 0
    for end, prompts in enumerate(labels):
        if end > begin and count + len(prompts) > _PROMPTS_IN_MEMORY:
            yield labels[begin:end]
            begin, count = end, 0
        count += len(prompts)
    yield labels[begin:]
