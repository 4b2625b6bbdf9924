"""Smaller and faster networks: pruning and int8."""
