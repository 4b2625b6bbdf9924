"""Training: visual words, tuples, losses, epochs, validation."""
