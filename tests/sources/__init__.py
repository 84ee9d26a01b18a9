"""Records that applications send: parsing, recording once, the Unix socket."""
