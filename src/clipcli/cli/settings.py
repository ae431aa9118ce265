"""What a run is made with, in names that people understand, so that it can be repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clipcli.provenance import provenance

if TYPE_CHECKING:
    from clipcli.cli.arguments import RunArguments
    from clipcli.engines.base import ModelInfo


def run_settings(arguments: RunArguments, info: ModelInfo) -> dict[str, Any]:
    """What must be equal for two runs to give the same numbers, and what else is worth knowing.

    Args:
        arguments: the command line.
        info: the model that was loaded.

    Returns:
        Ready for JSON; what is under `provenance` may differ.
    """
    return {
        "model": info.name,
        "fingerprint": info.fingerprint,
        "precision": arguments.precision,
        "preprocess": arguments.preprocess,
        "fast_decode": arguments.fast_decode,
        "batch_size": arguments.batch_size,
        "shard": arguments.shard or "1/1",
        "order": "as ready" if arguments.unordered else "as given",
        "provenance": {"engine": info.engine, **provenance()},
    }
