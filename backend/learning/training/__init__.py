"""Fine-tuning: a whole encoder trained on the labels there are, in a process of its own."""
