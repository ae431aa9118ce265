"""Ctrl-C and SIGTERM at any moment of the process: 130 or 143, and not a word of Python's own."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command import unmeasured_environment

# A signal comes when a module is looked for, for the first time.
WHEN_IMPORTED = """
import importlib.abc, os, signal, sys
number, name = int(sys.argv.pop(1)), sys.argv.pop(1)
class Signalling(importlib.abc.MetaPathFinder):
    def find_spec(self, wanted, path=None, target=None):
        if wanted == name:
            sys.meta_path.remove(self)
            print("here", file=sys.stderr, flush=True)
            os.kill(os.getpid(), number)
from clipcli.cli.main import main
sys.meta_path.insert(0, Signalling())
main()
"""

# A signal comes while a module is executed that swallows or replaces whatever is raised there.
IN_A_MODULE = """
import importlib.abc, importlib.util, os, signal, sys
number, name, way = int(sys.argv.pop(1)), sys.argv.pop(1), sys.argv.pop(1)
class Loader(importlib.abc.Loader):
    def exec_module(self, module):
        print("here", file=sys.stderr, flush=True)
        try:
            os.kill(os.getpid(), number)
        except BaseException as error:
            if way == "replaced":
                raise ImportError("no such library") from error
            if way == "other":
                raise SystemError("initialisation failed without an exception")
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, wanted, path=None, target=None):
        return importlib.util.spec_from_loader(wanted, Loader()) if wanted == name else None
from clipcli.cli.main import main
sys.meta_path.insert(0, Finder())
main()
"""

# A signal comes when a function is called, and what is raised there is lost.
WHEN_CALLED = """
import importlib, os, signal, sys
number, place, way = int(sys.argv.pop(1)), sys.argv.pop(1), sys.argv.pop(1)
from clipcli.cli.main import main
module, _, name = place.partition(":")
module = importlib.import_module(module)
whole = getattr(module, name)
def signalled(*args, **options):
    print("here", file=sys.stderr, flush=True)
    try:
        os.kill(os.getpid(), number)
    except BaseException as error:
        if way == "replaced":
            raise RuntimeError("lost") from error
    return whole(*args, **options)
setattr(module, name, signalled)
main()
"""

# A signal comes when all is written, before the process is gone.
AT_THE_END = """
import os, sys
number = int(sys.argv.pop(1))
from clipcli.cli.main import main
class Output:
    def __init__(self, stream): self.stream = stream
    def __getattr__(self, name): return getattr(self.stream, name)
    def flush(self):
        self.stream.flush()
        if sys._getframe(1).f_code.co_name == "_flushed":
            print("here", file=sys.stderr, flush=True)
            os.kill(os.getpid(), number)
sys.stdout = Output(sys.stdout)
main()
"""

# The same while the interpreter goes down, as it does under a profiler.
IN_THE_SHUTDOWN = """
import atexit, os, sys
number = int(sys.argv.pop(1))
def signalled():
    print("here", file=sys.stderr, flush=True)
    os.kill(os.getpid(), number)
atexit.register(signalled)
sys.setprofile(lambda *_: None)
from clipcli.cli.main import main
main()
"""

SIGNALS = [signal.SIGINT, signal.SIGTERM]
TWO = ("-l", "cat", "-l", "dog", "--model", "tiny")


def ended(program: str, *arguments: str | int) -> tuple[int, str]:
    """The exit code, and what was said after the signal had come."""
    result = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=unmeasured_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    _, came, rest = result.stderr.partition("here\n")
    assert came, f"there was no such moment: {result.stderr}"
    return result.returncode, rest


CLASSIFY = [
    "click",
    "click.shell_completion",
    "click_default_group",
    "clipcli.cli.program",
    "clipcli.cli.console",
    "clipcli.cli.group",
    "clipcli.cli.commands.classify",
    "clipcli.models.names",
    "clipcli.engines.onnx",
    "clipcli.runs.pipeline",
    "numpy",
    "numpy._core._multiarray_umath",
    "numpy.linalg",
    "PIL._imaging",
    "PIL.Image",
    "onnxruntime",
    "onnxruntime.capi.onnxruntime_pybind11_state",
    "sqlite3",
]


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("module", CLASSIFY)
def test_a_signal_in_an_import_is_the_end(photos: Path, number: int, module: str) -> None:
    line = (str(photos / "rocket.jpg"), *TWO)
    assert ended(WHEN_IMPORTED, number, module, *line) == (128 + number, "")


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("module", ["torch", "torch._C", "open_clip", "torchvision", "safetensors"])
def test_a_signal_in_an_import_of_torch_is_the_end(photos: Path, number: int, module: str) -> None:
    line = (str(photos / "rocket.jpg"), *TWO, "--no-cache", "--engine", "torch")
    assert ended(WHEN_IMPORTED, number, module, *line) == (128 + number, "")


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("click", ("--help",)),
        ("clipcli.cli.commands.models", ("models",)),
        ("clipcli.heads.text_cache", ("cache",)),
        ("clipcli.doctor.examine", ("doctor",)),
        ("clipcli.cli.commands.completion", ("completion", "bash")),
        ("filelock", ("embed", "PHOTO", "-o", "OUT.npz", "--model", "tiny")),
        ("clipcli.explanation.explain", ("explain", "PHOTO", *TWO)),
        ("requests", ("http://127.0.0.1:9/x.png", *TWO, "--allow-host", "127.0.0.1")),
    ],
)
def test_a_signal_in_any_command_s_imports_is_the_end(
    tmp_path: Path, photos: Path, number: int, module: str, arguments: tuple[str, ...]
) -> None:
    names = {"PHOTO": str(photos / "rocket.jpg"), "OUT.npz": str(tmp_path / "out.npz")}
    line = [names.get(argument, argument) for argument in arguments]
    code, said = ended(WHEN_IMPORTED, number, module, *line)
    assert code == 128 + number
    assert "Traceback" not in said


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("way", ["swallowed", "replaced", "other"])
@pytest.mark.parametrize("module", ["onnxruntime", "numpy", "click", "PIL"])
def test_what_a_library_makes_of_an_exception_does_not_matter(
    photos: Path, number: int, way: str, module: str
) -> None:
    line = (str(photos / "rocket.jpg"), *TWO)
    assert ended(IN_A_MODULE, number, module, way, *line) == (128 + number, "")


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("way", ["swallowed", "replaced"])
@pytest.mark.parametrize(
    "place", ["clipcli.heads.zero_shot:build_head", "clipcli.engines.choice:choose_engine"]
)
def test_an_exception_that_is_lost_elsewhere_is_not_forgotten(
    photos: Path, number: int, way: str, place: str
) -> None:
    code, said = ended(WHEN_CALLED, number, place, way, str(photos / "rocket.jpg"), *TWO)
    assert (code, said) == (128 + number, "")


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("program", [AT_THE_END, IN_THE_SHUTDOWN])
def test_a_signal_at_the_end_is_one_too(photos: Path, number: int, program: str) -> None:
    line = (str(photos / "rocket.jpg"), *TWO)
    assert ended(program, number, *line) == (128 + number, "")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_the_caller_ignores_stays_ignored(photos: Path, number: int) -> None:
    ignoring = f"import signal; signal.signal({int(number)}, signal.SIG_IGN)\n{WHEN_IMPORTED}"
    code, said = ended(ignoring, number, "numpy", str(photos / "rocket.jpg"), *TWO)
    assert (code, said) == (0, "")


def test_handlers_are_put_back() -> None:
    program = """
import signal
from clipcli.cli.main import run
numbers = signal.SIGINT, signal.SIGTERM
before = [signal.getsignal(number) for number in numbers]
run(["--version"])
assert [signal.getsignal(number) for number in numbers] == before
"""
    subprocess.run([sys.executable, "-c", program], env=unmeasured_environment(), check=True)
