"""A run's results as one HTML file, to be looked at in a browser."""

from clipcli.report.writer import Report

__all__ = ["Report"]
