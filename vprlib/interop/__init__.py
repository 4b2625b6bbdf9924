"""Files of the systems that this one replaces: read without running their code, and written."""
