"""Where events come from besides the policy: listeners and sockets. Sources know the policy only as `Services`."""
