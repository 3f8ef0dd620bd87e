"""Several annotators: who said what, what they say together, and how good everybody is."""
