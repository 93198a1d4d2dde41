"""What was observed, as values: instruments, quotes, books, forwards and chains."""
