"""How much processor time a start takes that needs no model: python benchmarks/startup.py."""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
from pathlib import Path

BUDGET_SECONDS = 0.15
PYTHON = "python -c pass"


def commands() -> dict[str, list[str]]:
    """What is measured: a title and a command line for each start."""
    clipcli = str(Path(sys.executable).with_name("clipcli"))
    return {
        PYTHON: [sys.executable, "-c", "pass"],
        "clipcli --version": [clipcli, "--version"],
        "clipcli --help": [clipcli, "--help"],
        "clipcli cat.jpg -l cat (a usage error)": [clipcli, "cat.jpg", "-l", "cat"],
    }


def cpu_seconds(command: list[str]) -> float:
    """User and system time of one run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Print the medians; the exit code is 1 where one of them is over the budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15, help="runs of each command (default: 15)")
    runs = parser.parse_args().runs
    over = False
    for title, command in commands().items():
        cpu_seconds(command)  # the first run fills the file cache
        median = statistics.median(cpu_seconds(command) for _ in range(runs))
        over |= median > BUDGET_SECONDS
        print(f"{median:6.3f} s  {title}")
    print(f"{BUDGET_SECONDS:6.3f} s  is the budget")
    return int(over)


if __name__ == "__main__":
    sys.exit(main())
