"""Pools that came after NetVLAD, one a file."""
