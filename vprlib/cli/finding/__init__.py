"""The command `vpr find`: where a photograph was taken."""
