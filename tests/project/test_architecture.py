"""The plan of the house: nothing stands above itself, and each library has one importer."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import clipcli

PACKAGE = Path(clipcli.__file__).parent


def module_name(file: Path) -> str:
    parts = ["clipcli", *file.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts).removesuffix(".__init__")


MODULES = {module_name(file): file for file in sorted(PACKAGE.rglob("*.py"))}
PACKAGES = sorted({name.rpartition(".")[0] for name in MODULES} - {""})

# Each library, and who alone may import it.
OWNERS = {
    "click": ["cli"],
    "click_default_group": ["cli"],
    "torch": ["adaptation.torch", "engines.torch"],
    "torchvision": ["engines.torch"],
    "open_clip": ["engines.torch"],
    "onnxruntime": ["engines"],
    "requests": ["images.web"],
    "urllib3": ["images.web"],
    "pillow_heif": ["doctor", "images"],
    "huggingface_hub": ["models.hub"],
    "tokenizers": ["models.tokenizers"],
    "pyarrow": ["embeddings"],
    "jinja2": ["outputs"],
    "sklearn": ["evaluation"],
    "scipy": ["evaluation"],
    "matplotlib": ["evaluation"],
}


@cache
def imports(module: str) -> frozenset[str]:
    """What a module imports, by full names: at its top, within functions, for types alone."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found.update(full & MODULES.keys() or {str(node.module)})
    return frozenset(found)


def part(package: str, module: str) -> str | None:
    """The file or folder of a package that a module is, or is in; None where it is elsewhere."""
    below = module.removeprefix(f"{package}.")
    return None if below == module else below.partition(".")[0]


def is_within(module: str, package: str) -> bool:
    return f"{module}.".startswith(f"{package}.")


def circles(below: dict[str, set[str]]) -> list[str]:
    """Every circle of a graph, as `a -> b -> a`; the graph loses an edge for each."""
    found = []
    while True:
        try:
            TopologicalSorter(below).prepare()
        except CycleError as error:
            circle: list[str] = error.args[1]
            found.append(" -> ".join(reversed(circle)))
            below[circle[1]].remove(circle[0])
        else:
            return found


@pytest.mark.parametrize("package", PACKAGES)
def test_the_parts_of_a_package_stand_above_each_other(package):
    below: dict[str, set[str]] = {}
    for module in MODULES:
        here = part(package, module)
        if here is not None:
            parts = {part(package, name) for name in imports(module)} - {here, None}
            below.setdefault(here, set()).update(parts)
    assert circles(below) == []


def test_every_circle_is_found_and_named():
    graph = {"a": {"b"}, "b": {"a", "c"}, "c": {"d"}, "d": {"c"}, "e": {"a"}}
    assert sorted(map(len, map(str.split, circles(graph)))) == [5, 5]
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize(("library", "owners"), OWNERS.items())
def test_each_library_is_known_in_one_place(library, owners):
    importers = {
        module
        for module in MODULES
        if any(name.partition(".")[0] == library for name in imports(module))
    }
    strangers = [
        module
        for module in importers
        if not any(is_within(module, f"clipcli.{owner}") for owner in owners)
    ]
    assert strangers == []


@pytest.mark.parametrize("module", MODULES)
def test_only_the_command_line_ends_the_process(module):
    text = MODULES[module].read_text(encoding="utf-8")
    endings = {
        ast.unparse(node)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Attribute | ast.Name)
    } & {"sys.exit", "os._exit", "SystemExit", "exit", "quit"}
    assert endings == set() or is_within(module, "clipcli.cli.main")


@pytest.mark.parametrize("package", [name for name in PACKAGES if name != "clipcli"])
def test_a_package_is_named_and_imports_nothing(package):
    """Importing a room must not import its neighbours: a start would get slower."""
    tree = ast.parse(MODULES[package].read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    if package != "clipcli.assets":  # the way to the data files
        assert len(tree.body) == 1
