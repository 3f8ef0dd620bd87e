"""Connectors speak to annotation platforms and know nothing of models."""
