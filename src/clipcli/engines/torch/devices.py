"""The device that a model runs on: found, tried out, its faults told from the model's own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from clipcli.engines.base import UnusableDeviceError
from clipcli.engines.hardware import cuda_available, cuda_trouble
from clipcli.engines.torch.switches import borrowed
from clipcli.errors import ModelError, UsageError

_ARCHITECTURE = re.compile(r"(sm|compute)_(\d+)(\d)([af]?)")
_OUT_OF_MEMORY = re.compile("out of memory|can't allocate memory|ALLOC_FAILED", re.IGNORECASE)
# So large that no product takes the way of small ones, whatever is rounded in the others.
_PROBE_SIDE = 256
# The last bits of fp32's 23 are lost in TF32 (10) and bf16 (7).
_PROBE_VALUE = 1 + 2.0**-20


def find_device(name: str, dtype: torch.dtype) -> torch.device:
    """A device that computes, by its name on the command line.

    Args:
        name: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`; `auto` is the first GPU that computes.
        dtype: that it computes in.

    Raises:
        UnusableDeviceError: there is a GPU, and it does not compute.
        ModelError: the processor does not compute exactly.
        UsageError: there is no such device.
    """
    if name == "auto":
        return _find_any(dtype)
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count and cuda_trouble():
            raise UnusableDeviceError(f"--device {name} cannot be used: {cuda_trouble()}")
        if (device.index or 0) >= count:
            found = f"{count} CUDA device(s)" if count else "no CUDA device"
            raise UsageError(f"--device {name}: torch {torch.__version__} finds {found} here")
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: torch finds no Apple GPU here")
    return _checked(device, dtype)


def _find_any(dtype: torch.dtype) -> torch.device:
    if torch.cuda.is_available():
        return _first_gpu(dtype)
    if cuda_available():
        raise UnusableDeviceError(f"torch {torch.__version__} does not find the CUDA device")
    return _checked(torch.device("mps" if torch.backends.mps.is_available() else "cpu"), dtype)


def _first_gpu(dtype: torch.dtype) -> torch.device:
    """The first that computes: before it there may be an old one that drives the screen."""
    faults = []
    for number in range(torch.cuda.device_count()):
        device = torch.device("cuda", number) if number else torch.device("cuda")
        words = fault(device, dtype)
        if not words:
            return device
        faults.append(f"{device} cannot be used: {words}")
    raise UnusableDeviceError("; ".join(faults))


def _checked(device: torch.device, dtype: torch.dtype) -> torch.device:
    words = fault(device, dtype)
    if not words:
        return device
    if device.type == "cpu":
        raise ModelError(f"the processor cannot be used: {words}")
    raise UnusableDeviceError(f"{device} cannot be used: {words}")


def fault(device: torch.device, dtype: torch.dtype) -> str:
    """Why a device does not compute as it should, or an empty text."""
    if device.type == "cpu" and dtype != torch.float32:
        return ""  # it computes, and what it rounds was asked for
    try:
        if device.type == "cuda":
            capability = torch.cuda.get_device_capability(device)
            built_for = torch.cuda.get_arch_list()
            if not has_kernels(capability, built_for):
                return (
                    f"torch {torch.__version__} has no kernels for its compute capability"
                    f" {capability[0]}.{capability[1]} (it has {', '.join(built_for)}): install a"
                    " torch that has, or use --device cpu"
                )
        with borrowed(device, threads=1):
            return _arithmetic_fault(device, dtype)
    # An assertion is what a torch without CUDA answers with.
    except (RuntimeError, AssertionError) as error:
        return first_line(error)


def has_kernels(capability: tuple[int, int], built_for: Sequence[str]) -> bool:
    """Whether a torch that was built for these architectures runs on a GPU.

    Machine code (`sm_86`) serves its own major version, from its own minor version on; portable
    code (`compute_90`) serves whatever came later, too; with an `a` either serves one capability
    alone, with an `f` its family (CUDA C++ Programming Guide, "Application Compatibility").

    Args:
        capability: the GPU's compute capability, (major, minor).
        built_for: what `torch.cuda.get_arch_list` says.
    """
    known = [match for name in built_for if (match := _ARCHITECTURE.fullmatch(name))]
    # Other names are AMD's, of which nothing is known here.
    return not known or any(_serves(match, capability) for match in known)


def _serves(architecture: re.Match[str], capability: tuple[int, int]) -> bool:
    kind, major, minor, suffix = architecture.groups()
    built = int(major), int(minor)
    if suffix == "a":
        return built == capability
    if kind == "compute" and not suffix:
        return built <= capability
    return built[0] == capability[0] and built <= capability


def _arithmetic_fault(device: torch.device, dtype: torch.dtype) -> str:
    """What is wrong with a product and a convolution whose results are known."""
    values = torch.full((_PROBE_SIDE, _PROBE_SIDE), _PROBE_VALUE, device=device, dtype=dtype)
    unit = torch.eye(_PROBE_SIDE, device=device, dtype=dtype)
    product = values @ unit
    convolved = torch.nn.functional.conv2d(values[None, :, :, None], unit[:, :, None, None])
    is_exact = torch.equal(product, values) and torch.equal(convolved[0, :, :, 0], values)
    if is_exact or dtype != torch.float32:
        return ""
    return (
        "its fp32 is not exact; take NVIDIA_TF32_OVERRIDE and ONEDNN_DEFAULT_FPMATH_MODE out of"
        " the environment, or ask for --precision bf16"
    )


@contextmanager
def faults_told(device: torch.device) -> Iterator[None]:
    """Tell apart what a device cannot do from what is wrong with the model.

    Raises:
        UnusableDeviceError: it has too little memory for the model, or fails.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_device_fault(error):
            raise
        words = "it has too little memory for the model" if lacks_memory(error) else ""
        kind = ModelError if device.type == "cpu" else UnusableDeviceError
        message = f"{device} cannot be used: {words or first_line(error)}"
        raise kind(message) from None  # whose frames hold what found room


def is_device_fault(error: Exception) -> bool:
    """Whether an error is a device's own."""
    return isinstance(error, torch.AcceleratorError) or lacks_memory(error)


def lacks_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out, in the words of any of torch's parts."""
    is_theirs = isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None
    return is_theirs or isinstance(error, torch.OutOfMemoryError)


def first_line(error: BaseException) -> str:
    """What torch says of its error; behind the first line come hints for its own developers."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
