"""Images and their geometry: readers, writers, and the gate that every image a user gives must pass."""
