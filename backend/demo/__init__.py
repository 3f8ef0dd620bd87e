"""The demo: the whole loop on a real platform, with simulated annotators who know the answers."""
