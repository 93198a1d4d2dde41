"""How services hand rows and surfaces to each other."""
