"""Write a checkpoint as an open_clip folder, its matrices in half precision."""

import json
from pathlib import Path

from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from safetensors.torch import save_file
from torch import Tensor

from scripts.train_tiny import arguments
from scripts.train_tiny.checkpoints import Checkpoint
from scripts.train_tiny.folders import WorkFolder

WEIGHTS_FILE = "open_clip_model.safetensors"
CONFIG_FILE = "open_clip_config.json"
PREPROCESSING = {
    "mean": OPENAI_DATASET_MEAN,
    "std": OPENAI_DATASET_STD,
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


def stored(weight: Tensor) -> Tensor:
    """Return a tensor as it is stored: fp16 if it has two dimensions or more.

    Vectors and scalars stay in fp32: they are few, and normalisation is sensitive to them.
    """
    if weight.dtype.is_floating_point and weight.ndim >= 2:
        weight = weight.half()
    return weight.contiguous().clone()


def write_model(checkpoint: Checkpoint, folder: Path) -> None:
    """Write a model's weights and configuration where open_clip finds them.

    Args:
        checkpoint: What to write.
        folder: Where to; created unless it is there. Load it as `local-dir:FOLDER`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: stored(weight) for name, weight in checkpoint.weights.items()}
    save_file(weights, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    config = {"model_cfg": checkpoint.architecture, "preprocess_cfg": PREPROCESSING}
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2))


def main() -> None:
    """Run the script."""
    parser = arguments.parser(__doc__)
    parser.add_argument("folder", type=Path, help="the folder to write")
    parser.add_argument(
        "--checkpoint",
        default="more",
        metavar="NAME",
        help="which checkpoint of the work folder (default: %(default)s)",
    )
    options = parser.parse_args()
    work = WorkFolder(options.work)
    write_model(Checkpoint.load(work.checkpoint(options.checkpoint)), options.folder)
    for name in (WEIGHTS_FILE, CONFIG_FILE):
        print(f"{name}: {(options.folder / name).stat().st_size} bytes")


if __name__ == "__main__":
    main()
