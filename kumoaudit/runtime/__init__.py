"""The only code that touches Lua: the policy's runtime, what it may call, and the encoder that runs inside it."""
