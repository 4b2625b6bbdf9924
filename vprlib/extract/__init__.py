"""Images in, descriptors out; goes on after a kill."""
