"""Local venues that speak the real wire protocols, with a known true surface behind them."""
