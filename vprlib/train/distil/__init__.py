"""Distillation: a student learns what a teacher says of the training images."""
