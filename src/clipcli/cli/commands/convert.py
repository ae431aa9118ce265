"""`clipcli convert`: a weights file that can run code -> safetensors, which cannot."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from clipcli.cli.arguments.checks import check_output
from clipcli.cli.console import Console
from clipcli.cli.options.groups import takes
from clipcli.cli.options.results import ForceFlag
from clipcli.cli.options.shared import console_options
from clipcli.disk.outputs import is_stream
from clipcli.errors import ModelError, UsageError
from clipcli.models.catalogue import architectures
from clipcli.models.names import SAFE_NAMES
from clipcli.printable import printable

_CLASSIFY = ("clipcli", "IMAGE", "-l", "TEXT", "-l", "TEXT", "--model")


@click.command()
@click.argument("source", metavar="FILE.pt", type=click.Path(path_type=Path))
@click.argument("target", metavar="FILE.safetensors", type=click.Path(path_type=Path))
@click.option("--trust", is_flag=True, help="Open a TorchScript archive: it can run its own code.")
@takes(force=ForceFlag)
@console_options
@click.pass_obj
def convert(console: Console, /, source: Path, target: Path, trust: bool, force: ForceFlag) -> None:
    """Make safetensors of OpenAI's TorchScript archives and of pickled state dicts.

    A TorchScript archive (OpenAI's own ViT-B-32.pt is one) is a program: whoever opens it runs
    what its author put there. --trust says that you know where the file comes from. Of a pickle
    only tensors are read, which runs nothing and needs no trust.

    \b
    clipcli convert ViT-B-32.pt ViT-B-32.safetensors --trust
    clipcli convert finetuned.pt finetuned.safetensors
    """  # noqa: D301  click wants the character \b itself
    from clipcli.models.weights import is_torchscript

    _check(source, target, force=force.force)
    if is_torchscript(source) and not trust:
        raise UsageError(
            f"{source} is a TorchScript archive, a program: to open it can run whatever its author"
            " put there, as you. If you know where it comes from and trust that, add --trust"
        )
    console.step(f"{source}: reading its tensors")

    # torch takes seconds to import; whatever can be refused has been.
    from clipcli.engines.torch.conversion import convert as write

    converted = write(source, target)
    told = f"{target}: {converted.tensors} tensors, {converted.size / 1e6:,.1f} MB"
    click.echo(printable(told))
    console.hint(f"use it with: {_next_command(source, target, is_openais=converted.is_openais)}")


def _check(source: Path, target: Path, *, force: bool) -> None:
    if target.suffix != ".safetensors" and not is_stream(target):
        raise UsageError(f"{target}: clipcli writes safetensors, so name it FILE.safetensors")
    if source.suffix == ".safetensors":
        use = shlex.join([*_CLASSIFY, "ARCHITECTURE", "--checkpoint", str(source)])
        raise UsageError(f"{source} is safetensors already: use it with '{use}'")
    if not os.path.isfile(source):
        raise ModelError(f"{source}: there is no such weights file")
    check_output(str(target), target, may_be_there=force)


def _next_command(source: Path, target: Path, *, is_openais: bool) -> str:
    """What classifies with the new file, as far as the old one's name tells."""
    if SAFE_NAMES.get(source.name) == target.name and source.parent == target.parent:
        return shlex.join([*_CLASSIFY, os.path.join(".", target.parent)])
    # OpenAI's names are open_clip's, but for ViT-L-14-336px.
    stem = source.stem.removesuffix("px")
    model = stem if stem in architectures() else "ARCHITECTURE"
    words = [*_CLASSIFY, model, "--checkpoint", str(target)]
    # Of others only their makers know.
    return shlex.join([*words, "--quick-gelu"] if is_openais else words)
