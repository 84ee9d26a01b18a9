-- The host's half of the runtime: the policy's environment, its handlers and tasks, and the functions it may call.
-- Runs once, before any policy code, with everything of LuaJIT at hand; the policy gets an environment of its own in
-- which `ffi`, `jit`, bytecode and the loader of C libraries are missing, and nothing of Python is in reach: Python's
-- functions stay in local variables here, and errors cross as text.

local cfg = ...

local type, tostring, error, pcall, select, pairs = type, tostring, error, pcall, select, pairs
local setmetatable, getmetatable, setfenv, getfenv, rawget = setmetatable, getmetatable, setfenv, getfenv, rawget
local load, unpack = load, unpack
local getinfo, traceback = debug.getinfo, debug.traceback
local create, resume, yield = coroutine.create, coroutine.resume, coroutine.yield
local running, status = coroutine.running, coroutine.status
local format, find, match, sub, gmatch, gsub = string.format, string.find, string.match, string.sub, string.gmatch, string.gsub

local real_require, real_loaded = require, package.loaded
local globals = _G

-- The bridge leaves a global and an entry behind; nobody needs them.
globals.python = nil
real_loaded.python = nil

local pack = real_require 'kumoaudit.pack'
local encode = real_require 'kumoaudit.encode'

local host = {}

-- Where the policy is -----------------------------------------------------------------------------------------

-- Chunk names of the policy and of the modules it loads, as `getinfo` shows them.
local policy_chunks = {}

-- `file:line` of the innermost frame of the policy, or nil when no policy code is on the stack.
local function place(co, level)
  while true do
    local info
    if co then
      info = getinfo(co, level, 'Sl')
    else
      info = getinfo(level, 'Sl')
    end
    if not info then
      return nil
    end
    if policy_chunks[info.source] then
      return sub(info.source, 2) .. ':' .. info.currentline
    end
    level = level + 1
  end
end

local function where()
  return place(nil, 3) or ''
end
host.where = where

-- Python's functions answer ok, result... or false, text: an error of Python never crosses as an object.
local function answer(ok, ...)
  if not ok then
    error((...), 0)
  end
  return ...
end

-- The environment of the policy -------------------------------------------------------------------------------

local env = {}
host.env = env

local function refuse(name, why)
  return function()
    error(format("%s is not available to a policy: %s", name, why), 2)
  end
end

for _, name in pairs { 'assert', 'error', 'ipairs', 'next', 'pairs', 'pcall', 'rawequal', 'rawget', 'rawset', 'select',
  'setmetatable', 'getmetatable', 'tonumber', 'tostring', 'type', 'unpack', 'xpcall', '_VERSION', 'collectgarbage',
  'coroutine', 'math', 'table', 'string', 'bit', 'io' } do
  env[name] = globals[name]
end
env._G = env

-- `string` is shared, because the methods of every text are looked up in it; it loses its door to bytecode.
if not cfg.trusted then
  string.dump = nil
end
table.unpack = table.unpack or unpack
table.pack = table.pack or function(...)
  return { n = select('#', ...), ... }
end

env.os = {}
for k, v in pairs(os) do
  env.os[k] = v
end
function env.os.exit(code)
  cfg.py.exit(type(code) == 'number' and code or (code == false and 1 or 0))
  error('os.exit: the host is stopping', 0)
end

if cfg.trusted then
  env.debug = debug
  env.ffi, env.jit = real_require 'ffi', jit
else
  env.debug = {
    traceback = traceback,
    -- What a script asks for to name a place; functions, locals and the registry stay out of reach.
    getinfo = function(a, b)
      local level, what = a, b
      if type(a) == 'number' then
        level = a + 1
      end
      what = gsub(what or 'nSl', '[^nSlu]', '')
      local info = getinfo(level, what) -- no tail call: it would take this function's own level away
      return info
    end,
  }
end

-- Text only: bytecode can break out of the virtual machine.
local function load_text(chunk, name, mode, chunk_env)
  if type(chunk) == 'function' then
    local parts = {}
    for piece in chunk do
      if piece == nil or piece == '' then
        break
      end
      parts[#parts + 1] = piece
    end
    chunk = table.concat(parts)
  end
  if mode ~= nil and not find(mode, 't', 1, true) and not cfg.trusted then
    return nil, 'attempt to load bytecode: a policy loads text only'
  end
  return load(chunk, name or chunk, cfg.trusted and mode or 't', chunk_env or env)
end
env.load = load_text
function env.loadstring(chunk, name)
  return load_text(chunk, name)
end

local function read(path)
  local f, problem = io.open(path, 'rb')
  if not f then
    return nil, problem
  end
  local text = f:read '*a'
  f:close()
  return text
end

function env.loadfile(path, mode, chunk_env)
  local text, problem = read(path)
  if not text then
    return nil, problem
  end
  return load_text(gsub(text, '^#[^\n]*', ''), '@' .. path, mode, chunk_env)
end
function env.dofile(path)
  local f, problem = env.loadfile(path)
  if not f then
    error(problem, 0)
  end
  return f()
end

-- The environment of a function tells nothing but the policy's own; that of a host function is never given out.
function env.getfenv(f)
  if type(f) == 'function' then
    local e = getfenv(f)
    return e ~= globals and e or env
  end
  return env
end
function env.setfenv(f, e)
  if type(f) ~= 'function' then
    error('setfenv takes a function here, not a level', 2)
  end
  if getfenv(f) == globals then
    error('setfenv: this function belongs to the host', 2)
  end
  return setfenv(f, e)
end

function env.print(...)
  local out = {}
  for i = 1, select('#', ...) do
    out[i] = tostring((select(i, ...)))
  end
  cfg.py.print(table.concat(out, '\t'))
end

-- Lua 5.3 and later: say so instead of "a nil value".
local newer = {
  utf8 = 'the utf8 library is Lua 5.3 and later; this host runs LuaJIT (Lua 5.1)',
}
setmetatable(env, {
  __index = function(_, name)
    if newer[name] then
      error(newer[name], 2)
    end
    return nil
  end,
})

-- require: beside the policy, then in the package's own lua directory -------------------------------------------

local loaded = { bit = bit, string = string, table = table, math = math, io = io, coroutine = coroutine,
  os = env.os, debug = env.debug }
env.package = {
  loaded = loaded, preload = {}, cpath = '',
  path = cfg.policy_dir .. '/?.lua;' .. cfg.policy_dir .. '/?/init.lua;' .. cfg.lua_dir .. '/?.lua',
}
if cfg.trusted then
  env.package.loadlib, env.package.cpath = package.loadlib, package.cpath
  loaded.ffi, loaded.jit = env.ffi, env.jit
else
  env.package.loadlib = refuse('package.loadlib', 'it loads C code; run with --trusted')
end

local BLOCKED = {
  ffi = true, jit = true, ['jit.util'] = true, ['jit.opt'] = true, python = true, lupa = true,
  ['string.buffer'] = true, ['table.new'] = true, ['table.clear'] = true,
}
local loading = {}

function env.require(name)
  if type(name) ~= 'string' then
    error(format("require: expected a module name, got %s", type(name)), 2)
  end
  if loaded[name] ~= nil then
    return loaded[name]
  end
  if name == 'table.new' or name == 'table.clear' or name == 'string.buffer' or (cfg.trusted and BLOCKED[name]) then
    loaded[name] = real_require(name)
    return loaded[name]
  end
  if BLOCKED[name] or find(name, '^kumoaudit[%./]') then
    error(format("require '%s': not available to a policy%s", name,
      (name == 'ffi' or name == 'jit') and '; run with --trusted' or ''), 2)
  end
  if loading[name] then
    error(format("require '%s': the module requires itself", name), 2)
  end
  local preload = env.package.preload[name]
  local tried = {}
  local chunk
  if preload then
    chunk = preload
  else
    for template in gmatch(env.package.path, '[^;]+') do
      local path = gsub(template, '%?', (gsub(name, '%.', '/')))
      -- `types` holds annotations for editors, no modules.
      local text = sub(path, 1, #cfg.lua_dir + 7) ~= cfg.lua_dir .. '/types/' and read(path)
      if text then
        local shown, ready = answer(cfg.py.module(path, text))
        local source = '@' .. shown
        local f, problem = load(gsub(ready, '^#[^\n]*', ''), source, 't', env)
        if not f then
          cfg.py.syntax_error(shown, problem)
          error(problem, 0)
        end
        policy_chunks[source] = true
        chunk = f
        break
      end
      tried[#tried + 1] = '  no file ' .. path
    end
  end
  if not chunk then
    error(format("module '%s' not found:\n%s", name, table.concat(tried, '\n')), 2)
  end
  loading[name] = true
  local ok, result = pcall(chunk, name)
  loading[name] = nil
  if not ok then
    error(result, 0)
  end
  if result == nil then
    result = loaded[name]
  end
  loaded[name] = result == nil and true or result
  return loaded[name]
end

-- kumo.*: tables of functions whose other half is Python's --------------------------------------------------------

local kumo = {}
env.kumo = kumo
loaded.kumo = kumo
-- A missing field of a table of functions is said by name (mail functions, misspellings); Python knows the texts.
local function guarded(path, t)
  return setmetatable(t, {
    __index = function(_, name)
      local problem = type(name) == 'string' and answer(cfg.py.missing(path .. '.' .. name))
      if problem then
        error(problem, 2)
      end
      return nil
    end,
  })
end
guarded('kumo', kumo)

local function table_at(path)
  local t, at = env, ''
  for part in gmatch(path, '[^.]+') do
    at = at == '' and part or at .. '.' .. part
    if rawget(t, part) == nil then
      t[part] = guarded(at, {})
    end
    t = rawget(t, part)
  end
  return t
end

--- Make Python's *fn* callable as *path* (`kumo.serde.json_parse`). Values cross packed; with *raw* texts cross as they
--- are (bytes), and nothing but texts, numbers, booleans and nil may be given.
function host.export(path, fn, raw)
  local parent, name = match(path, '^(.*)%.([^.]+)$')
  local t = table_at(parent)
  if raw then
    t[name] = function(...)
      for i = 1, select('#', ...) do
        local kind = type((select(i, ...)))
        if kind == 'table' or kind == 'function' or kind == 'userdata' or kind == 'cdata' or kind == 'thread' then
          error(format('%s: argument %d cannot be a %s', path, i, kind), 2)
        end
      end
      return answer(fn(where(), ...))
    end
  else
    t[name] = function(...)
      return answer(fn(where(), pack.list(select('#', ...), ...)))
    end
  end
end

--- Put a Lua value at *path*.
function host.put(path, value)
  local parent, name = match(path, '^(.*)%.([^.]+)$')
  if not parent then
    env[path] = value
    loaded[path] = value
    return
  end
  table_at(parent)[name] = value
end

--- Add the functions of a Lua module of the host (`kumoaudit.api.NAME`) to the policy's environment.
function host.install(name)
  local module = real_require('kumoaudit.api.' .. name)
  module {
    kumo = kumo, put = host.put, table_at = table_at, py = cfg.py, answer = answer, where = where, pack = pack, host = host,
  }
end

-- Handlers ------------------------------------------------------------------------------------------------------

local handlers = {}

function kumo.on(event, fn)
  local at = where()
  local name = type(event) == 'string' and event or pack.value(event)
  answer(cfg.py.on(at, name, type(event), type(fn)))
  local list = handlers[name] or {}
  handlers[name] = list
  list[#list + 1] = fn
  if name == 'audit_event' then
    host.audit.set_hook(fn)
  end
end

--- Whether *event* has a handler.
function host.has(event)
  return handlers[event] ~= nil
end

-- The results of handler *i* if it gave any, else those of the next one.
local function first_value(list, i, again, ...)
  if select('#', ...) > 0 and (...) ~= nil then
    return ...
  end
  if list[i + 1] then
    return again(i + 1)
  end
end

-- Call the handlers of *event* in order until one returns a value (KumoMTA section 7.1; here an explicit nil passes on).
local function dispatch(event, ...)
  local list = handlers[event]
  if not list then
    return
  end
  local n, args = select('#', ...), { ... }
  local again
  function again(i)
    return first_value(list, i, again, list[i](unpack(args, 1, n)))
  end
  return again(1)
end

-- Tasks: a handler runs in a coroutine, so that kumo.sleep gives up the runtime ---------------------------------

local tasks, last_task = {}, 0
local current

local function describe(e)
  if type(e) == 'string' then
    return e
  elseif e == nil then
    return 'error raised with nil'
  end
  local ok, text = pcall(function()
    local mt = getmetatable(e)
    if type(mt) == 'table' and mt.__tostring then
      return tostring(e)
    end
    return 'error raised with a ' .. type(e) .. ': ' .. pack.value(e)
  end)
  return ok and text or 'error raised with a ' .. type(e)
end

local function settle(id, co, previous, ok, ...)
  current = previous
  if not ok then
    tasks[id] = nil
    local text = describe((...))
    return 'error', text, place(co, 0) or '', traceback(co)
  end
  if status(co) == 'dead' then
    tasks[id] = nil
    return 'done', pack.list(select('#', ...), ...)
  end
  return ...
end

local function step(id, ...)
  local co = tasks[id]
  local previous = current
  current = co
  return settle(id, co, previous, resume(co, ...))
end

--- Begin a task that runs *f*; returns its number and what `step` returns.
local function begin(f, ...)
  last_task = last_task + 1
  local id = last_task
  tasks[id] = create(f)
  return id, step(id, ...)
end

--- 'done', results | 'sleep', seconds | 'error', text, place, traceback.
host.step = step

function host.call(event, ...)
  return begin(dispatch, event, ...)
end

--- Sleep: the task is set aside; where that is not possible (in a coroutine of the policy's own, while a file loads)
--- the whole runtime waits.
function host.sleep(seconds)
  if current and running() == current then
    yield('sleep', seconds)
  else
    answer(cfg.py.sleep(seconds))
  end
end

--- Compile and run the policy file.
function host.run_file(text, shown)
  local source = '@' .. shown
  policy_chunks[source] = true
  local f, problem = load(gsub(text, '^#[^\n]*', ''), source, 't', env)
  if not f then
    return 0, 'syntax', problem
  end
  return begin(f)
end

--- Call the handlers of *event* inside the running task (so they may sleep); their results.
host.dispatch = dispatch

--- Whether the running code may be set aside by `host.sleep` (it is in a task, not in a coroutine of the policy's own).
function host.can_wait()
  return current ~= nil and running() == current
end

--- Whether a chunk (`source` of getinfo) belongs to the policy.
function host.is_policy(source)
  return policy_chunks[source] ~= nil
end

host.kumo, host.pack, host.encode = kumo, pack, encode
host.answer = answer

-- The audit module.
local audit, audit_host = real_require 'kumoaudit.audit' (cfg.py, where)
env.audit = audit
env._audit_fields_known = audit_host.fields_known
loaded.audit = audit
host.audit = audit_host

return host
