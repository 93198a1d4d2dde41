"""One module per question of `volsurface bench`."""
