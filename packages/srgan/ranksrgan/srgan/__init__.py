"""Generators trained with content, adversarial and rank-content losses."""
