"""Photographs on disk: the index of a set, decoding, batches, fingerprints."""
