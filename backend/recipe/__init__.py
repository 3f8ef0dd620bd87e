"""The recipe of a project: its model, its YAML, its catalogue."""
