"""A map in a store of its own: Qdrant in a folder, or on many machines."""
