"""Takes what a run tells of pictures beside their results."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Told:
    """What a run tells."""

    lines: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)

    def told(self, name: str, text: str) -> None:
        self.lines.append(f"{name}: {text}")

    def trouble(self, name: str, text: str) -> None:
        self.troubles.append(f"{name}: {text}")

    def hint(self, text: str) -> None:
        self.hints.append(text)
