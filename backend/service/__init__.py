"""One project's running service."""
