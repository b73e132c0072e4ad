"""What a training sees: crops of images, and where their LR versions come from."""
