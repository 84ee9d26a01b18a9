"""The HTTP listener: every request is authenticated, authorized and recorded before it does anything."""
