"""What is learned on top of an encoder, how it is kept, and how it leaves the house."""
