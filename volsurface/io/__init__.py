"""Everything that touches a socket, a file or another process."""
