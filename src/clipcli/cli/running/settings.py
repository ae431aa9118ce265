"""What a run is made with, in names that people understand, so that it can be repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clipcli.runs.provenance import provenance

if TYPE_CHECKING:
    from clipcli.cli.arguments.run import RunArguments
    from clipcli.engines.base import ModelInfo
    from clipcli.heads.zero_shot import ZeroShotHead


def run_settings(
    arguments: RunArguments,
    info: ModelInfo,
    head: ZeroShotHead | None = None,
    *,
    shard: str | None = None,
    unordered: bool = False,
) -> dict[str, Any]:
    """What must be equal for two runs to give the same numbers, and what else is worth knowing.

    Args:
        arguments: the command line.
        info: the model that was loaded.
        head: of the labels, where one is used for all images.
        shard: the part of the images that is taken; None for all.
        unordered: results come as they are ready.

    Returns:
        Ready for JSON; what is under `provenance` may differ.
    """
    # Not the labels themselves: equal labels may have been encoded in other company.
    texts = {} if head is None else {"text_embeddings": _digest(head)}
    return {
        "model": info.name,
        "fingerprint": info.fingerprint,
        "precision": arguments.engine.precision,
        "preprocess": arguments.reading.preprocess,
        # By its name, whether it was asked for or is the model's own: the numbers are the same.
        "fit": info.preprocess.fitted(arguments.reading.fit).fit,
        "fast_decode": arguments.decoding.fast_decode,
        **({"allow_truncated": True} if arguments.reading.allow_truncated else {}),
        "batch_size": arguments.engine.batch_size,
        # A part's results and the whole's are not each other's beginning.
        "shard": shard or "1/1",
        "order": "as ready" if unordered else "as given",
        "provenance": {"engine": info.engine, **texts, **provenance()},
    }


def _digest(head: ZeroShotHead) -> str:
    """Equal where the labels' embeddings are, to the last digit; 16 hexadecimal digits."""
    from hashlib import sha256

    return sha256(head.embeddings.tobytes()).hexdigest()[:16]
