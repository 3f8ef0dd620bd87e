"""The HTTP edges: what the platform calls, what you call with curl, and what watches the service."""
