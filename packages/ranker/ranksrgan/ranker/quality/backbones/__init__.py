"""The recognition networks that the quality models look through."""
