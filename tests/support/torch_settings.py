"""What `borrowed` makes of a host's settings, a forked process for each; printed as JSON."""

from __future__ import annotations

import json
import os
import sys

import torch
from host_state import torch_state

from clipcli.engines.torch.switches import borrowed

HOSTS = (
    "pass",
    "torch.set_float32_matmul_precision('high')",
    "torch.set_float32_matmul_precision('medium')",
    "torch.set_float32_matmul_precision('medium'); backends.cuda.matmul.allow_tf32 = True",
    "torch.set_float32_matmul_precision('medium'); backends.cuda.matmul.fp32_precision = 'ieee'",
    "backends.cuda.matmul.allow_tf32 = True",
    "backends.cuda.matmul.allow_tf32 = True; backends.fp32_precision = 'tf32'",
    "backends.cuda.matmul.fp32_precision = 'tf32'",
    "backends.cudnn.allow_tf32 = False",
    "backends.cudnn.fp32_precision = 'ieee'",
    "backends.cudnn.conv.fp32_precision = 'ieee'",
    "backends.fp32_precision = 'tf32'",
    "backends.fp32_precision = 'ieee'",
    "backends.mkldnn.matmul.fp32_precision = 'bf16'",
    "backends.mkldnn.conv.fp32_precision = 'tf32'",
    "torch.set_default_dtype(torch.float64)",
    "torch.set_autocast_enabled('cpu', True)",
    "torch.set_num_threads(1)",
)
# What a host may still do afterwards: settings that were never made must follow those above them.
LATER = (
    "pass",
    "backends.fp32_precision = 'tf32'",
    "backends.fp32_precision = 'ieee'",
    "backends.cudnn.fp32_precision = 'ieee'",
    "backends.fp32_precision = 'none'",
)

backends = torch.backends


def afterwards(host: str, later: str, *, used: bool) -> tuple[str, list[object]]:
    """Torch's switches at the end, and what was so within."""
    ours, theirs = os.pipe()
    if not os.fork():
        exec(host)
        within: list[object] = []
        if used:
            with borrowed(torch.device("cpu"), 2):
                within = within_borrowed()
        exec(later)
        with open(theirs, "w") as file:
            json.dump([repr(torch_state()), within], file)
        os._exit(0)
    os.close(theirs)
    with open(ours) as file:
        state, within = json.load(file)
    os.wait()
    return state, within


def within_borrowed() -> list[object]:
    """What must be so while clipcli computes."""
    state = torch_state()
    operations = [name for name in state if name.startswith("torch fp32")]
    product = torch.eye(2) @ torch.eye(2)
    return [
        sorted({str(state[name]) for name in operations}),
        state["torch matmul precision"],
        state["torch matmul TF32"],
        str(product.dtype),
    ]


if __name__ == "__main__":
    for host in HOSTS:
        changed, within = [], []
        for later in LATER:
            without, _ = afterwards(host, later, used=False)
            after, within = afterwards(host, later, used=True)
            changed += [later] * (without != after)
        json.dump({"host": host, "changed": changed, "within": within}, sys.stdout)
        print()
