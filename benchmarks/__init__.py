"""Claims with their measurements, one file a claim. ``python -m benchmarks`` lists them; with names, it runs them."""
