"""What the gate has to tell about an image that it lets in."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Notes:
    """Sentences for a clinician, in the order in which they arose.

    `changed` is true once voxels or geometry differ from what the file holds; `stated` is the orientation
    that rests on the user's word, as the file holds none.
    """

    sentences: list[str] = field(default_factory=list)
    changed: bool = False
    stated: str | None = None

    def warn(self, sentence: str) -> None:
        """Say something; the image is as the file has it."""
        self.sentences.append(sentence)

    def repaired(self, sentence: str) -> None:
        """Say what was changed, and by how much."""
        self.sentences.append(sentence)
        self.changed = True
