"""Pure values and functions: no I/O, no threads, no Lua."""
