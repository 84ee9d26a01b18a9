"""Where events and commands come from, outside the policy: sockets and listeners."""
