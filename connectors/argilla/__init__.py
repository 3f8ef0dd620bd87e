"""Argilla 2.x behind the connector protocol."""
