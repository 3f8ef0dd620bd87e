"""Spans: tokens, tags, and the probe on token vectors."""
