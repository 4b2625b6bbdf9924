"""Files of descriptors, and what shrinks them: whitening and codes."""
