"""The composition root: the three stages in one process."""
