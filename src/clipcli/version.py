"""This version of clipcli, which the build reads, too."""

__version__ = "0.1.0"
