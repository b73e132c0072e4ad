"""Enlarging images of any size with a trained generator, and files of them."""
