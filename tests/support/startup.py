"""Which modules a start of clipcli imports."""

from __future__ import annotations

import json
import subprocess
import sys

from command import unmeasured_environment

HEAVY = {
    *("numpy", "torch", "torchvision", "open_clip", "onnxruntime", "PIL", "safetensors"),
    *("requests", "urllib3", "huggingface_hub", "tqdm", "ftfy", "regex", "importlib.metadata"),
    *("sklearn", "scipy", "matplotlib", "jinja2", "pyarrow"),
}
PROGRAM = """
import sys
from clipcli.cli.main import run
code = run(sys.argv[1:])
import json
sys.stderr.write("\\n" + json.dumps(sorted(sys.modules)))
sys.exit(code)
"""


def loaded_modules(program: str, *arguments: str) -> tuple[set[str], int]:
    """All modules that a program has imported at its end, and its exit code."""
    result = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=unmeasured_environment(),
        capture_output=True,
        check=False,
    )
    return set(json.loads(result.stderr.splitlines()[-1])), result.returncode
