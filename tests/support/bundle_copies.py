"""Copies of the bundled model, whole and spoiled."""

import json
import shutil

from command import ROOT

from clipcli.disk.folders import temporary_folder
from clipcli.models.bundles import (
    bundle_folder,
    install,
    open_bundle,
)
from clipcli.models.configurations import MANIFEST_FILE
from clipcli.models.names import resolve_model
from clipcli.models.specs import ModelRequest

TINY = ROOT / "src" / "clipcli" / "assets" / "tiny"
MODEL_FILES = ("open_clip_config.json", "open_clip_model.safetensors")
MANIFEST = json.loads((TINY / MANIFEST_FILE).read_text())
FILES = sorted(MANIFEST["files"])


def copy_of_tiny(folder):
    """A local model with the bundled one's weights."""
    folder.mkdir(parents=True)
    for name in MODEL_FILES:
        shutil.copyfile(TINY / name, folder / name)
    return resolve_model(ModelRequest(str(folder)))


def prepare_copy(spec):
    """Put the bundled model's graphs where `clipcli pull` would put those of a copy of it."""
    folder = bundle_folder(spec, "fp32")
    temporary = temporary_folder(folder)
    temporary.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(TINY / name, temporary / name)
    (temporary / MANIFEST_FILE).write_text(json.dumps({**MANIFEST, "model": spec.name}))
    install(temporary, folder)
    return open_bundle(folder)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])
