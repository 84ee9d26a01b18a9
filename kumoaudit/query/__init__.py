"""Asking logs: find them, merge them, print what was found. Needs no running host and no Lua."""
