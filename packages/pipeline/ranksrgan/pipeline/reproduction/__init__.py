"""The paper's claims, measured with this code: ``ranksrgan reproduce``."""
