"""What a program that uses clipcli as a library has set for its process, to be compared.

As a script, `host_state.py ENGINE PHOTO [hostile]` uses a `Classifier` in every way, and prints a
line for whatever that has changed, and the answer at the end.
"""

from __future__ import annotations

import gc
import locale
import logging
import os
import random
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageFile

State = dict[str, object]


def snapshot() -> State:
    """All switches by name; those of libraries only where they are imported."""
    state: State = {f"environ {name}": value for name, value in os.environ.items()}
    state |= {f"signal {number}": signal.getsignal(number) for number in signal.valid_signals()}
    state |= _logging() | _interpreter()
    state["MAX_IMAGE_PIXELS"] = Image.MAX_IMAGE_PIXELS
    state["LOAD_TRUNCATED_IMAGES"] = ImageFile.LOAD_TRUNCATED_IMAGES
    state["numpy errors"] = np.geterr()
    state["numpy random"] = str(np.random.get_state())
    if "torch" in sys.modules:
        state |= torch_state()
    if "huggingface_hub" in sys.modules:
        from huggingface_hub import constants

        names = (name for name in vars(constants) if name.startswith("HF_"))
        state |= {f"hub {name}": getattr(constants, name) for name in names}
    return state


def _logging() -> State:
    root, manager = logging.getLogger(), logging.root.manager
    loggers = [one for one in manager.loggerDict.values() if isinstance(one, logging.Logger)]
    told = {f"logger {one.name}": (one.level, one.disabled, one.propagate) for one in loggers}
    # A library's own logger may get the library's own handler.
    of_all = (root.level, tuple(root.handlers), manager.disable, logging.raiseExceptions)
    return {**told, "logging": of_all}


def _interpreter() -> State:
    mask = os.umask(0)
    os.umask(mask)
    return {
        "warnings": list(warnings.filters),
        "showwarning": warnings.showwarning,
        "hooks": (sys.excepthook, sys.unraisablehook, sys.displayhook, threading.excepthook),
        "recursion": sys.getrecursionlimit(),
        "switch interval": sys.getswitchinterval(),
        "digits": sys.get_int_max_str_digits(),
        "tracing": (sys.gettrace(), sys.getprofile()),
        "path": list(sys.path),
        "locale": locale.setlocale(locale.LC_ALL),
        "umask": mask,
        "folder": os.getcwd(),
        "gc": (gc.isenabled(), gc.get_threshold()),
        "random": random.getstate(),
        "socket": socket.getdefaulttimeout(),
    }


def torch_state() -> State:
    """Torch's switches."""
    import torch

    backends: Any = torch.backends
    parts = {
        "all": backends,
        "cudnn": backends.cudnn,
        "cudnn conv": backends.cudnn.conv,
        "cudnn rnn": backends.cudnn.rnn,
        "cuda matmul": backends.cuda.matmul,
        "mkldnn matmul": backends.mkldnn.matmul,
        "mkldnn conv": backends.mkldnn.conv,
        "mkldnn rnn": backends.mkldnn.rnn,
    }
    older: dict[str, Callable[[], object]] = {
        "matmul precision": torch.get_float32_matmul_precision,
        "matmul TF32": lambda: backends.cuda.matmul.allow_tf32,
        "cudnn TF32": lambda: backends.cudnn.allow_tf32,
    }
    return {
        **{f"torch fp32 {name}": part.fp32_precision for name, part in parts.items()},
        **{f"torch {name}": _asked(read) for name, read in older.items()},
        "torch threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "torch default": (torch.get_default_dtype(), str(torch.get_default_device())),
        "torch modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "torch autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        "torch cudnn": (
            backends.cudnn.enabled,
            backends.cudnn.benchmark,
            backends.cudnn.deterministic,
        ),
        "torch fast path": backends.mha.get_fastpath_enabled(),
        "torch deterministic": torch.are_deterministic_algorithms_enabled(),
        "torch random": torch.get_rng_state().tolist(),
    }


def _asked(read: Callable[[], object]) -> object:
    """An older switch; torch refuses to read one that disagrees with a newer one."""
    try:
        return read()
    except RuntimeError:
        return "unreadable"


def differences(before: State, after: State) -> list[str]:
    """What is another; a library's own that came with its import is not the host's."""
    new = {name for name in after.keys() - before.keys() if name.startswith("environ ")}
    names = sorted(before.keys() | new)
    pairs = [(name, before.get(name), after.get(name)) for name in names]
    return [f"{name}: {str(was)[:99]} -> {str(now)[:99]}" for name, was, now in pairs if was != now]


def be_hostile(engine: str) -> None:
    """Set everything to something else than usual."""
    warnings.filterwarnings("error", category=RuntimeWarning)
    logging.getLogger("PIL").setLevel(logging.DEBUG)
    logging.getLogger("huggingface_hub").setLevel(logging.DEBUG)
    logging.disable(logging.CRITICAL)
    sys.setrecursionlimit(2345)
    signal.signal(signal.SIGTERM, lambda *_: None)
    socket.setdefaulttimeout(77.0)
    Image.MAX_IMAGE_PIXELS = 7_000_000
    if engine == "torch":
        _be_hostile_to_torch()


def _be_hostile_to_torch() -> None:
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(5)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_float32_matmul_precision("medium")
    torch.backends.fp32_precision = "tf32"  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = True
    torch.backends.mha.set_fastpath_enabled(False)
    torch.set_autocast_enabled("cpu", True)
    torch.set_grad_enabled(False)


def main(engine: str, photo: str, host: str = "") -> None:
    """Use a `Classifier`, and say after each step what that has changed."""
    if host:
        be_hostile(engine)
    state = snapshot()

    def step(name: str, action: Callable[[], object]) -> object:
        nonlocal state
        result: object = None
        try:
            result = action()
        except Exception as error:  # noqa: BLE001  told as the step's result
            result = type(error).__name__
        now = snapshot()
        for line in differences(state, now):
            print(f"{name}: {line}")
        state = now
        return result

    import clipcli

    step("import", lambda: clipcli.Classifier)
    made = step("construction", lambda: clipcli.Classifier("tiny", engine=engine))
    assert isinstance(made, clipcli.Classifier)
    answer = step("use", lambda: made.classify([photo, "none", b"II*\0"], ["a cat", "a dog"])[0])
    failures = {
        "an unknown model": lambda: clipcli.Classifier("tinny", engine=engine),
        "a failed construction": lambda: clipcli.Classifier(
            "tiny", engine="torch", checkpoint=photo
        ),
        "offline": lambda: clipcli.Classifier(
            clipcli.ModelRequest("tiny", offline=True), engine=engine
        ),
        "a failed use": lambda: made.classify(photo, ["a cat", 5]),  # type: ignore[list-item]
    }
    for name, action in failures.items():
        print(f"({name}: {step(name, action)})", file=sys.stderr)
    assert isinstance(answer, clipcli.Prediction)
    print(answer.best.label, answer.best.similarity)


if __name__ == "__main__":
    main(*sys.argv[1:])
