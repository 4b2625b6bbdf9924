"""Where images are, and which of them show the same place."""
