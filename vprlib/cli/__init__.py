"""The `vpr` command."""
