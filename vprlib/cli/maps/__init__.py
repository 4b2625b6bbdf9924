"""Maps in Qdrant: the commands `vpr map`, and what `vpr find` and `vpr serve` ask of them."""
