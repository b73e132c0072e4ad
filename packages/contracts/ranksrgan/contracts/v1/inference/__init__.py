"""Generated from protos/: make proto."""
