"""Each venue's language, without any I/O."""
