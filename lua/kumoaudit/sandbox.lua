-- The environment of a policy: standard Lua without the doors to C, bytecode and Python, and `require` beside the policy.
-- `ffi`, `jit`, `debug` and bytecode are given only to a trusted policy (`run --trusted`).

local type, tostring, error, pcall, select, pairs = type, tostring, error, pcall, select, pairs
local setmetatable, setfenv, getfenv = setmetatable, setfenv, getfenv
local load, unpack = load, unpack
local getinfo, traceback = debug.getinfo, debug.traceback
local format, find, sub, gmatch, gsub = string.format, string.find, string.sub, string.gmatch, string.gsub
local concat = table.concat

local real_require = require
local globals = _G

--- Makes the environment. *cfg*: `trusted`, `policy_dir`, `lua_dir`, `py` (Python's `exit`, `print`, `module`,
--- `syntax_error`); *answer* unwraps what Python returns; *policy_chunks* gets the name of each module that is loaded.
--- Returns the environment and the table of loaded modules.
return function(cfg, answer, policy_chunks)
  local env = {}

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
    answer(cfg.py.exit(type(code) == 'number' and code or (code == false and 1 or 0)))
    error('os.exit: the host is stopping', 0)
  end

  if cfg.trusted then
    env.debug = debug
    env.ffi, env.jit = real_require 'ffi', jit
  else
    env.debug = {
      traceback = traceback,
      -- What a script asks for to name a place; functions, locals and the registry stay out of reach.
      getinfo = function(a, b, c)
        if type(a) == 'thread' then
          local what = gsub(c or 'nSl', '[^nSlu]', '')
          return (getinfo(a, b, what))
        end
        local level, what = a, gsub(b or 'nSl', '[^nSlu]', '')
        if type(a) == 'number' then
          level = a + 1
        end
        return (getinfo(level, what)) -- no tail call: it would take this function's own level away
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
      chunk = concat(parts)
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
    answer(cfg.py.track(path, text))
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
    cfg.py.print(concat(out, '\t'))
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
    ['string.buffer'] = true, -- its `reserve` gives raw memory
  }
  local loading = {}

  function env.require(name)
    if type(name) ~= 'string' then
      error(format("require: expected a module name, got %s", type(name)), 2)
    end
    if loaded[name] ~= nil then
      return loaded[name]
    end
    if name == 'table.new' or name == 'table.clear' or (cfg.trusted and BLOCKED[name]) then
      loaded[name] = real_require(name)
      return loaded[name]
    end
    if BLOCKED[name] or find(name, '^kumoaudit[%./]') then
      error(format("require '%s': not available to a policy%s", name,
        (name == 'ffi' or name == 'jit' or name == 'string.buffer') and '; run with --trusted' or ''), 2)
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
      error(format("module '%s' not found:\n%s", name, concat(tried, '\n')), 2)
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

  return env, loaded
end
