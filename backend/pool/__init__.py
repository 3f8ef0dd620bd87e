"""The project's records and their answers, in memory."""
