"""The controller: what is, compared with what should be, and the difference done. See controller.py."""
