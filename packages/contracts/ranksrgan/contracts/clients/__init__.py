"""Reaching a service, for scores, enlargements, rank data and trainings that are made elsewhere."""
