"""Images beside texts: reading them, encoding both, and heads that use both."""
