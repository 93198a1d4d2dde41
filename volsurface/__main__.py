"""`python -m volsurface` is the command line."""

from volsurface.cli import main

main()
