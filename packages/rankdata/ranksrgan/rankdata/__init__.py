"""Rank datasets: versions of one content, labelled by a metric."""
