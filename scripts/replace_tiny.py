"""Put other weights of the bundled model in its place, and renew all that shows what it answers.

    python scripts/replace_tiny.py FOLDER [--photos PHOTOS]

FOLDER is an open_clip folder, as `scripts/train_tiny` writes it: `open_clip_config.json` and
`open_clip_model.safetensors`. PHOTOS holds the photos of the README's evaluation with their
`labels.tsv`; without it that part stays as it is.

Each step is a command of its own and may be given again: prepare_tiny.py (graphs, manifest),
update_assets.py --answers (known answers), readme_commands.py --write (the README's console
blocks), docs_pictures.py (pictures, the README's evaluation). What is left for a person, the last
lines say: figures that are measured, and pictures that are looked at.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
TINY = ROOT / "src" / "clipcli" / "assets" / "tiny"
CARD = TINY / "README.md"
MODEL_FILES = ("open_clip_config.json", "open_clip_model.safetensors")
LEFT = """left to do:
- look at docs/*, and at the README's changes: is each answer shown a right one?
- measure the sets of src/clipcli/assets/tiny/README.md, each with
  python benchmarks/tiny_accuracy.py FOLDER; write the figures there and into the README's section
  on the bundled model (tests/project/test_bundled_model.py compares both)
- python -m pytest"""


def script(*arguments: str) -> None:
    """Run one of this folder's scripts; the last word of a failure is its own."""
    name, *rest = arguments
    print(f"python scripts/{' '.join(arguments)}", flush=True)
    done = subprocess.run([sys.executable, ROOT / "scripts" / name, *rest], cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def put(folder: Path) -> None:
    """Copy the weights and their configuration into the package."""
    for name in MODEL_FILES:
        if (folder / name).resolve() != TINY / name:
            shutil.copyfile(folder / name, TINY / name)


def with_hash(card: str, sha256: str) -> str:
    """The model card with the sha256 of the weights."""
    changed, count = re.subn(r"(?m)^\| sha256 \| `\w+` \|$", f"| sha256 | `{sha256}` |", card)
    assert count == 1, "the card has no line for the sha256"
    return changed


def main(arguments: Sequence[str] | None = None) -> None:
    """Do all steps in their order."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=Path, help="of the README's evaluation")
    options = parser.parse_args(arguments)
    put(options.folder)
    script("prepare_tiny.py")
    manifest = json.loads((TINY / "manifest.json").read_text(encoding="utf-8"))
    card = with_hash(CARD.read_text(encoding="utf-8"), manifest["weights_sha256"])
    CARD.write_text(card, encoding="utf-8")
    script("update_assets.py", "--answers")
    script("readme_commands.py", "--write")
    script("docs_pictures.py", *(["--photos", str(options.photos)] if options.photos else []))
    print(LEFT)


if __name__ == "__main__":
    main()
