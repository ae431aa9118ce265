"""What becomes of pictures beside their results, told as it happens."""

from __future__ import annotations

from typing import Protocol


class Teller(Protocol):
    """Who is told what becomes of pictures."""

    def told(self, name: str, text: str) -> None:
        """Take what is to be known of one picture."""

    def trouble(self, name: str, text: str) -> None:
        """Take why one picture could not be handled: the run did not do all that was asked."""

    def hint(self, text: str) -> None:
        """Take what there is to say of the whole."""
