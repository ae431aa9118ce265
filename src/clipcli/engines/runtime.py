"""ONNX Runtime, imported so that it keeps to itself; nobody else imports it."""

from __future__ import annotations

import os

from clipcli.process import unchanged

with unchanged():
    # Its wheel otherwise writes a device's id and this process's path into the user's home folder
    # at the import, to be sent to its makers.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

    import onnxruntime as onnxruntime  # noqa: PLC0414  after the line above; for others to import

__all__ = ["onnxruntime"]
