"""Where events and commands come from besides the policy: listeners and sockets. No source knows the runtime."""
