"""What a policy may call, one file per Lua module. Each has `exports(host)`: path -> `Export`."""
