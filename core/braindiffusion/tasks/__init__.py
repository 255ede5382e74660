"""What the package can do: one file per task. See `base` for what a task is and how it is found."""
