"""Smiles and surfaces: raw SVI, its certificate of no arbitrage, calibration and metrics."""
