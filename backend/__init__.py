"""The service: everything between a label coming in and a queue going out."""
