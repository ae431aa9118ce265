"""Command lines as dataclasses, checked before anything is loaded."""
