"""From an event to its logs: encoders, rings, writer threads, and what builds them from specs."""
