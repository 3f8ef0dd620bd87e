"""What stands first in the queue, and how it gets there."""
