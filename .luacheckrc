-- `luacheck lua examples` finds nothing. Policies see two globals of the host; its own Lua makes none.
std = 'luajit'
max_line_length = 130

files['examples'] = { read_globals = { 'kumo', 'audit', '_VALIDATING_CONFIG' } }
files['lua/policy-extras'] = { read_globals = { 'kumo', 'audit' } }

-- Signatures for editors: every function is empty, so no argument is used.
files['lua/types'] = { globals = { 'kumo', 'audit', '_VALIDATING_CONFIG' }, ignore = { '212', '241' } }

-- What a policy gets of the standard library is put together here.
files['lua/kumoaudit/sandbox.lua'] = { globals = { 'string', 'table' } }
