"""Sources of events: the HTTP listener."""
