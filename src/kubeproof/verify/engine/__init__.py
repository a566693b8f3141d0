"""How a verification runs: claims, tests, results, what it prepares and what it removes."""
