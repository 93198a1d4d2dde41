"""Numbers in, numbers out: Black-76 prices, implied vols and Greeks."""
