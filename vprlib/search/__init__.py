"""Nearest neighbours: exact, between codes, and through Faiss."""
