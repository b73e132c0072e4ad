"""Generators: one file per architecture, and the table of all."""
