"""A second look at what was found: do local features of the two images fit one geometry?"""
