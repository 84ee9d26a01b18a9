-- The host's half of the runtime: the policy's handlers and tasks, and the functions it may call.
-- Runs once, before any policy code, with everything of LuaJIT at hand; the policy gets an environment of its own
-- (sandbox.lua), and nothing of Python is in reach: Python's functions stay in local variables here, and errors cross as
-- text.

local cfg = ...

local type, tostring, error, pcall, select = type, tostring, error, pcall, select
local setmetatable, getmetatable, rawget = setmetatable, getmetatable, rawget
local load, unpack = load, unpack
local getinfo, traceback, sethook = debug.getinfo, debug.traceback, debug.sethook
local jit = jit
local create, resume, yield = coroutine.create, coroutine.resume, coroutine.yield
local running, status = coroutine.running, coroutine.status
local format, match, sub, gmatch, gsub = string.format, string.match, string.sub, string.gmatch, string.gsub

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

-- The environment of the policy.
local env, loaded = real_require 'kumoaudit.sandbox' (cfg, answer, policy_chunks)
host.env = env

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
      loaded[at] = t[part]
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

--- Make a table of functions what `require(name)` gives; it is no global.
function host.provide(name, t)
  loaded[name] = t
end

--- Add the functions of a Lua module of the host (`kumoaudit.api.NAME`) to the policy's environment.
function host.install(name)
  local module = real_require('kumoaudit.api.' .. name)
  module {
    kumo = kumo, put = host.put, table_at = table_at, py = cfg.py, answer = answer, where = where, pack = pack, host = host,
    provide = host.provide,
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
    -- A result may have a `__pack` that raises; outside the coroutine nobody would catch it.
    local packed, results = pcall(pack.list, select('#', ...), ...)
    if not packed then
      return 'error', describe(results), '', ''
    end
    return 'done', results
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

--- 'done', results | 'sleep', seconds | 'work', name, arguments | 'error', text, place, traceback.
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

--- Raise an error in code that runs longer than *seconds* from now; nil ends that. A hook never fires in compiled code,
--- so the compiler is off meanwhile. Code that catches the error meets it again with its next instruction.
local had_jit
local own_code = '@' .. cfg.lua_dir .. '/kumoaudit/'
function host.limit(seconds)
  if not seconds then
    sethook()
    if had_jit then
      jit.on()
    end
    return
  end
  had_jit = jit.status()
  jit.off()
  local deadline = encode.monotonic() + seconds
  local function hook()
    if encode.monotonic() < deadline then
      return
    end
    sethook(hook, '', 1)
    local info = getinfo(2, 'Sl')
    local source = info.source
    -- What the host itself does with the error goes on.
    if source == '@kumoaudit/boot.lua' or source == '=generated' or sub(source, 1, #own_code) == own_code then
      return
    end
    local at = policy_chunks[source] and format('%s:%d: ', sub(source, 2), info.currentline) or ''
    error(format('%shas not returned for %g s (handler_timeout)', at, seconds), 0)
  end
  sethook(hook, '', 100000)
end

--- Long work of Python (`PolicyHost.works`): other handlers go on meanwhile, where the task can be set aside.
function host.work(name, ...)
  if current and running() == current then
    return answer(yield('work', name, ...))
  end
  return answer(cfg.py.work(name, ...))
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
