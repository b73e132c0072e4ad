"""What image files hold beside pixels, what reading them costs, and how they are written."""
