"""From texts and images to vectors: encoders, their files, and the cache of what they made."""
