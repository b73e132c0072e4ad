"""Image quality metrics, exact to the published software."""
