"""Spans: labelled stretches of a text, learned as tags on tokens and given back as character offsets."""
