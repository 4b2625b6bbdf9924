"""The command `vpr report`: a page that shows all results."""
