"""Trainings of encoders and heads, in processes of their own."""
