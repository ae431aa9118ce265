"""A pickle -> its tensors and plain values, by torch's own reader of these and nothing else."""

from __future__ import annotations

import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from clipcli.errors import ModelError

_FOREIGN_TABLE = re.compile(r"Can only SETITEMS? .* but got <class '.*\.foreign_(\d+)'>")


@dataclass(frozen=True)
class Pickled:
    """What a pickle holds.

    Attributes:
        content: plain values and tensors; an empty thing in place of each object of other classes.
        foreign: the names of these classes, none of which was imported.
    """

    content: Any
    foreign: Sequence[str]


class _Nothing(list[Any]):
    """In place of an object of a class that is not torch's: takes what is put in, and runs nothing.

    A list, since torch's reader puts items into no other class.
    """

    def __new__(cls, *_arguments: Any) -> _Nothing:  # noqa: ANN401
        return super().__new__(cls)

    def __init__(self, *_arguments: Any) -> None:  # noqa: ANN401
        super().__init__()

    def __setstate__(self, _state: object) -> None:
        pass

    def __hash__(self) -> int:  # type: ignore[override]  # it may be a key
        return id(self)


class _Table:
    """The same for a table, which to torch's reader must be of one of its own classes."""

    def __new__(cls, *_arguments: Any) -> Any:  # noqa: ANN401
        return OrderedDict()


def read_pickle(file: Path) -> Pickled:
    """Read a file that `torch.save` wrote.

    Objects of foreign classes (a trainer's settings and callbacks) are passed over where the file
    is of today's form, in which they can be named beforehand.

    Raises:
        ModelError: the file is damaged, or asks for what torch's reader refuses.
    """
    try:
        # Opened here: where it fails, torch leaves a file open that it opened itself.
        with file.open("rb") as content, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of forms that it then reads, or refuses
            return _read(content)
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL (\S+)", str(error))
        raise foreign_error(file, name and name[1]) from error
    except Exception as error:
        raise ModelError(f"{file} is not a whole state dict ({first_line(error)})") from error


def foreign_error(file: Path, name: str | None) -> ModelError:
    """The refusal of a pickle for something that is no tensor."""
    what = f"asks for {name}" if name else "is something else"
    reason = "a state dict holds tensors only: it is refused, and nothing of it was run"
    return ModelError(f"{file} {what}, and {reason}")


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its class."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _read(content: IO[bytes]) -> Pickled:
    foreign: list[str] = []
    with suppress(Exception):  # of another form: torch.load says what is wrong with it
        foreign = sorted(get_unsafe_globals_in_checkpoint(content))
    stand_ins: list[type] = [
        type(f"foreign_{number}", (_Nothing,), {}) for number in range(len(foreign))
    ]
    while True:
        content.seek(0)
        try:
            with safe_globals(list(zip(stand_ins, foreign, strict=True))):
                loaded = torch.load(content, map_location="cpu", weights_only=True)
            return Pickled(loaded, foreign)
        except pickle.UnpicklingError as error:
            table = _FOREIGN_TABLE.search(str(error))
            if table is None:
                raise
            # Once for each at most: a table never fails so.
            stand_ins[int(table[1])] = type("Table", (_Table,), {})
