"""How the processors share the arithmetic of a command that multiplies much."""

from __future__ import annotations

import os


def leave_threads_to_blocks() -> None:
    """Let matrix products run in the threads that ask for them; called before NumPy is imported.

    Blocks of rows are scored in a thread a processor. OpenBLAS's own threads would wait for each
    other a thousand times a second, and cost several times as much on a machine with other work.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
