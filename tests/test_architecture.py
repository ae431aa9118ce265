"""The house's plan: which room may know of which, and who alone may touch what."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import clipcli

PACKAGE = Path(clipcli.__file__).parent

# Imports go from a room to rooms of its own rank or below.
RANKS = {
    "errors": 0,
    "printable": 0,
    "cpu": 0,
    "addresses": 0,
    "paths": 0,
    "cuda": 0,
    "runtime": 0,
    "provenance": 0,
    "connections": 1,
    "network_errors": 1,
    "proxies": 1,
    "fetch": 1,
    "files": 1,
    "sources": 1,
    "formats": 1,
    "images": 1,
    "thumbnails": 1,
    "terminal_images": 1,
    "terminals": 1,
    "previews": 1,
    "explanation": 4,
    "heatmaps": 4,
    "terminal_heatmaps": 4,
    "isolation": 1,
    "worker": 1,
    "preprocessing": 1,
    "tokenizer": 1,
    "hub_tokenizer": 1,
    "hub": 1,
    "catalogue": 1,
    "specs": 1,
    "configurations": 1,
    "transformers_folder": 1,
    "models": 1,
    "weights": 1,
    "hashes": 0,
    "pins": 0,
    "hub_cache": 1,
    "hub_errors": 1,
    "downloads": 1,
    "checkpoints": 1,
    "conversion": 2,
    "bundles": 1,
    "manifests": 1,
    "parity": 3,
    "labels": 2,
    "cache": 2,
    "engines": 2,
    "checkset": 3,
    "classifier": 3,
    "export": 4,
    "feeder": 4,
    "lookahead": 4,
    "outputs": 4,
    "report": 4,
    "pipeline": 4,
    "tally": 4,
    "embeddings": 4,
    "run_output": 4,
    "runs": 5,
    "evaluation": 5,
    "plots": 5,
    "api": 5,
    "doctor": 5,
    "cli": 5,
    "__main__": 6,
}


def module_name(file: Path) -> str:
    parts = ["clipcli", *file.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts).removesuffix(".__init__")


MODULES = {module_name(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def run_time_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes outside `if TYPE_CHECKING:`, which never runs."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        yield from run_time_nodes(node)


def imports(module: str) -> set[str]:
    """What a module imports at run time, anywhere in it, by full names."""
    found: set[str] = set()
    for node in run_time_nodes(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found.update(full & MODULES.keys() or {str(node.module)})
    return found


def room(module: str) -> str:
    return module.split(".")[1]


def importers(*libraries: str) -> set[str]:
    """Modules of clipcli that import one of some libraries at run time."""
    return {
        module
        for module in MODULES
        if any(name.split(".")[0] in libraries for name in imports(module))
    }


def test_every_room_has_its_place():
    assert {room(module) for module in MODULES if module != "clipcli"} == RANKS.keys()


@pytest.mark.parametrize("module", [module for module in MODULES if module != "clipcli"])
def test_imports_go_one_way(module):
    known = {name for name in imports(module) if name.startswith("clipcli.")}
    upward = {name for name in known if RANKS[room(name)] > RANKS[room(module)]}
    assert upward == set()


def test_there_are_no_import_cycles():
    graph = {module: imports(module) & MODULES.keys() for module in MODULES}
    assert len(tuple(TopologicalSorter(graph).static_order())) == len(MODULES)


def test_only_the_command_line_knows_click():
    assert {room(module) for module in importers("click", "click_default_group")} == {"cli"}


def test_only_the_reference_engine_and_what_feeds_it_know_torch():
    assert importers("torch", "torchvision", "open_clip") == {
        "clipcli.checkpoints",
        "clipcli.conversion",
        "clipcli.engines.gradients",
        "clipcli.engines.openclip",
        "clipcli.export",
    }


def test_onnx_runtime_is_imported_in_one_place():
    assert importers("onnxruntime") == {"clipcli.export", "clipcli.runtime"}


def test_only_downloads_know_the_network():
    assert {room(module) for module in importers("requests", "urllib3")} <= {
        "connections",
        "fetch",
        "network_errors",
    }
    assert importers("huggingface_hub") == {"clipcli.downloads", "clipcli.hub_errors"}


@pytest.mark.parametrize("module", MODULES)
def test_only_the_command_line_ends_the_process(module):
    text = MODULES[module].read_text(encoding="utf-8")
    endings = {
        ast.unparse(node)
        for node in run_time_nodes(ast.parse(text))
        if isinstance(node, ast.Attribute | ast.Name)
    } & {"sys.exit", "os._exit", "SystemExit", "exit", "quit"}
    assert endings == set() or room(module + ".clipcli") == "cli"


def test_the_public_names_are_these_and_all_can_be_had():
    assert clipcli.__all__ == [
        "Classifier",
        "ClipcliError",
        "Failure",
        "LabelScore",
        "ModelRequest",
        "Prediction",
        "__version__",
    ]
    assert [getattr(clipcli, name).__name__ for name in clipcli.__all__[:-1]] == clipcli.__all__[
        :-1
    ]
    assert dir(clipcli) == sorted(clipcli.__all__)
    with pytest.raises(AttributeError, match="no attribute 'classify'"):
        _ = clipcli.classify
