"""The ways in which others list their images, read and checked."""
