"""The command-line arguments that the scripts share."""

import argparse
from pathlib import Path


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser that knows `--work`.

    Args:
        description: What the script does: its module docstring.
    """
    created = argparse.ArgumentParser(description=description)
    created.add_argument(
        "--work",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="where arrays and checkpoints are written and read",
    )
    return created


def packing(description: str | None) -> argparse.ArgumentParser:
    """Return a parser that knows `--work` and `--data`, the folder of the data sets.

    Args:
        description: What the script does: its module docstring.
    """
    created = parser(description)
    created.add_argument(
        "--data", type=Path, required=True, metavar="FOLDER", help="where the data sets lie"
    )
    return created


def training(description: str | None, seconds: float) -> argparse.ArgumentParser:
    """Return a parser that knows `--work`, `--data` and `--seconds`, the time budget.

    Args:
        description: What the script does: its module docstring.
        seconds: The budget of the original run.
    """
    created = packing(description)
    created.add_argument(
        "--seconds",
        type=float,
        default=seconds,
        metavar="N",
        help="how long to train; the learning rates follow it (default: %(default)g)",
    )
    return created
