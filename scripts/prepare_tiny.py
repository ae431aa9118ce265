"""Prepare the bundled model's graphs, tokenizer and manifest anew from its weights.

    python scripts/prepare_tiny.py

Run it after the weights have changed, or for a new format of bundles.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from clipcli.engines.torch.export import Preparation, prepare
from clipcli.models.configurations import MANIFEST_FILE
from clipcli.models.names import BUNDLED_MODEL, resolve_model
from clipcli.models.specs import ModelRequest
from clipcli.models.weights import weights_file


def main() -> None:
    """Prepare beside, check against torch, then copy into the package; the manifest comes last."""
    spec = resolve_model(ModelRequest(BUNDLED_MODEL))
    assert spec.folder is not None
    weights = weights_file(spec, offline=True)
    with tempfile.TemporaryDirectory() as folder:
        bundle = prepare(Preparation(spec, weights, "fp32", print), Path(folder, "bundle"))
        for name in (*bundle.manifest.files, MANIFEST_FILE):
            shutil.copyfile(bundle.folder / name, spec.folder / name)
    print(f"{spec.folder}: {bundle.size / 1e6:.1f} MB, {dict(bundle.manifest.parity)}")


if __name__ == "__main__":
    main()
