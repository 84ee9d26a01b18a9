"""Listeners and sockets: records of applications, HTTP, the control socket."""
