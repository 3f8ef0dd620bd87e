"""Models: encoders, the embedding cache, the probe on top, cold start and honest evaluation.

Nothing is re-exported here, so that importing one part never loads the libraries of another.
"""
