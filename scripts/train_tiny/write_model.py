"""Writes a checkpoint as an open_clip folder, its logit scale fitted to held-out pictures."""

import json
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor

from scripts.train_tiny import backbone
from scripts.train_tiny.arguments import parser
from scripts.train_tiny.evaluate import measured
from scripts.train_tiny.material import UNSEEN, found, test_sets
from scripts.train_tiny.measure import likelihood_loss
from scripts.train_tiny.model import CONFIG, TinyClip, stored_names
from scripts.train_tiny.pictures import table

PREPROCESSING = {
    "mean": [0.5] * 3,
    "std": [0.5] * 3,
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
SCALES = range(10, 80)


def main() -> None:
    """Runs the script."""
    options = parser(__doc__, "data", "work", "wheels")
    options.add_argument(
        "--checkpoint", default="trained.pt", metavar="NAME", help="file in the work folder"
    )
    options.add_argument("folder", type=Path, metavar="FOLDER", help="folder to write")
    given = options.parse_args()
    model = TinyClip()
    model.load_state_dict(torch.load(given.work / given.checkpoint))
    rows = [row for row in table() if row.set != UNSEEN]
    drawn = [ten for _, _, ten in measured(model, test_sets(found(given.data, given.work, rows)))]
    scale = min(SCALES, key=lambda scale: sum(likelihood_loss(ten, scale) for ten in drawn))
    model.logit_scale.data = torch.tensor(float(scale)).log()
    print(f"logit scale {scale}")
    write(model, backbone.weights(given.wheels), given.folder)


def write(model: TinyClip, trunk: dict[str, Tensor], folder: Path) -> None:
    """Writes the backbone (tensors by timm's names) and the trained parts as one model."""
    state = {
        f"visual.trunk.{name}": tensor
        for name, tensor in trunk.items()
        if not name.startswith("classifier")
    }
    trained = model.state_dict()
    state |= {stored: trained[name] for name, stored in stored_names(model).items()}
    open_clip.CLIP(**CONFIG).load_state_dict(state)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: stored(tensor) for name, tensor in state.items()},
        folder / "open_clip_model.safetensors",
        {"format": "pt"},
    )
    config = {"model_cfg": CONFIG, "preprocess_cfg": PREPROCESSING}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")


def stored(tensor: Tensor) -> Tensor:
    """The tensor as it is stored: matrices in fp16."""
    return (tensor.half() if tensor.ndim >= 2 else tensor).contiguous().clone()


if __name__ == "__main__":
    main()
