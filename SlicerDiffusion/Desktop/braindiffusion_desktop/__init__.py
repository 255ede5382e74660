"""A window of its own for the Slicer module: the real MRML scene (slicer-core) in PySide6, without Slicer."""
