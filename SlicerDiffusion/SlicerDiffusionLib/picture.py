"""The picture of a run in the panel, as wide as the panel; a click on the button opens it in full."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import say

_WIDTH = 360


class Picture:
    """`show(path)` with the picture's file; hidden where there is none."""

    def __init__(self) -> None:
        import qt

        self._path: Path | None = None
        self.widget, column = say.section("Picture", "picture", True)
        self.label = qt.QLabel()
        self.label.setObjectName("pictureShown")
        self.label.setToolTip("The picture that the run has drawn; it is among the run's files.")
        column.addWidget(self.label)
        help_ = "Open the picture in full, in the program for pictures."
        column.addWidget(say.button("Open picture", help_, self._open, "openPicture"))
        self.said = say.label("pictureSaid")
        column.addWidget(self.said)
        self.widget.setVisible(False)

    def show(self, path: Path | None) -> None:
        """Show the picture of a file, folded as the user left it; None shows nothing."""
        import qt

        if path == self._path:
            return
        self._path = path
        picture = qt.QPixmap(str(path)) if path is not None else qt.QPixmap()
        self.widget.setVisible(not picture.isNull())
        say.say(self.said, "")
        if not picture.isNull():
            self.label.setPixmap(picture.scaledToWidth(_WIDTH, qt.Qt.SmoothTransformation))

    def _open(self) -> None:
        if self._path is not None and not openFile(self._path):
            say.say(self.said, f"'{self._path}' could not be opened; look for it there.", say.ERROR)


def openFile(path: Path) -> Any:
    """Open a file or folder with the system's own program; False where there is none."""
    import qt

    return qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(path)))
