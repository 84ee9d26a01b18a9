-- The `audit` module (Tarantool, section 7). The rules are Python's (dialects/tarantool.py): a call that looks right
-- here goes straight into the log, anything else is shown to Python, which names what is wrong.

local pack = require 'kumoaudit.pack'
local encode = require 'kumoaudit.encode'
local predicate = require 'kumoaudit.predicate'

local type, next, select, tostring, error, pcall = type, next, select, tostring, error, pcall
local setmetatable, unpack = setmetatable, unpack
local format, match = string.format, string.match
local create, resume, yield = coroutine.create, coroutine.resume, coroutine.yield
local rank = predicate.rank
local string_of = require('ffi').string
local copy = require('ffi').copy

--- *py*: Python's `check(call, fields)` -> ok, error text or nil; `accept_type(call, type)` -> ok, error text or nil;
--- `event(at, args)`; `hook_failed(text)`; `oversize`/`full(fields)`. *where()* gives the policy's line.
return function(py, where)
  local emit -- the generated function: (id, severity, peer, session_type, module, user, type, tag, description)
  local record -- the same with (sec, ms, ...) and the id in encode.id
  local hook
  local in_hook = false
  local node = ''

  -- Types that Python has accepted; a policy uses few.
  local accepted, accepted_count = {}, 0

  local function accept(call, etype)
    local ok, problem = py.accept_type(call, etype)
    if not ok or problem then
      error(problem, 0)
    end
    if accepted_count >= 10000 then
      accepted, accepted_count = {}, 0
    end
    accepted[etype] = true
    accepted_count = accepted_count + 1
  end

  -- Fields of the caller, complete and checked -> the log. An empty text is an absent one.
  local function submit(id, severity, peer, session_type, module, user, etype, tag, description)
    if user == '' then user = nil end
    if peer == '' then peer = nil end
    if tag == '' then tag = nil end
    if module == '' then module = nil end
    if session_type == '' then session_type = nil end
    return emit(id, severity, peer, session_type, module, user, etype, tag, description)
  end

  -- A number as text (a 64-bit integer with all its digits); anything else as it is.
  local function with_text(v)
    if type(v) == 'number' then
      return tostring(v)
    elseif type(v) == 'cdata' then
      local digits = match(tostring(v), '^(%-?%d+)U?LL$')
      return digits or v
    end
    return v
  end

  -- The fields of a call with numbers made text. The copy is the call's own.
  local function with_texts(o)
    local t = {}
    for k, v in next, o do
      t[k] = with_text(v)
    end
    return t
  end

  -- Whether *o* has exactly *n* keys, 9 at most. Written out: a loop here is compiled by itself, and then the policy's own
  -- loop no longer is (1,100 instead of 250 ns an event). All of the count but the calls of `next` folds away.
  local function has_keys(o, n)
    local k = next(o)
    if n == 0 or k == nil then return n == 0 and k == nil end
    k = next(o, k)
    if n == 1 or k == nil then return n == 1 and k == nil end
    k = next(o, k)
    if n == 2 or k == nil then return n == 2 and k == nil end
    k = next(o, k)
    if n == 3 or k == nil then return n == 3 and k == nil end
    k = next(o, k)
    if n == 4 or k == nil then return n == 4 and k == nil end
    k = next(o, k)
    if n == 5 or k == nil then return n == 5 and k == nil end
    k = next(o, k)
    if n == 6 or k == nil then return n == 6 and k == nil end
    k = next(o, k)
    if n == 7 or k == nil then return n == 7 and k == nil end
    k = next(o, k)
    return n == 8 and k == nil
  end

  -- The mark of a call whose fields were read when the file was loaded (runtime/literals.py).
  local KNOWN = setmetatable({}, { __metatable = 'audit', __tostring = function() return 'audit fields known' end })

  local from_table

  -- Something is not as the fast path wants it: numbers are made text, the rest is for Python to refuse.
  local function checked(call, o, severity, d)
    local t = with_texts(o)
    local ok, problem = py.check(call, pack.value(t), d ~= nil and d.description ~= nil)
    if not ok or problem then
      error(problem, 0)
    end
    return from_table(call, t, severity, d, true)
  end

  function from_table(call, o, severity, d, is_checked, is_known)
    local etype, user, module, tag, description = o.type, o.user, o.module, o.tag, o.description
    local own_severity, peer, session_type, id = o.severity, o.remote, o.session_type, o.uuid
    if not is_checked then
      -- Every field that is there counts as one key; one key more, and some key is no field.
      local n = 0
      if type(description) == 'string' then
        n = 1
      elseif description ~= nil or d == nil or d.description == nil then
        return checked(call, o, severity, d)
      end
      if type(etype) == 'string' then n = n + 1 elseif etype ~= nil then return checked(call, o, severity, d) end
      if type(user) == 'string' then n = n + 1 elseif user ~= nil then return checked(call, o, severity, d) end
      if type(module) == 'string' then n = n + 1 elseif module ~= nil then return checked(call, o, severity, d) end
      if type(tag) == 'string' then n = n + 1 elseif tag ~= nil then return checked(call, o, severity, d) end
      if type(peer) == 'string' then n = n + 1 elseif peer ~= nil then return checked(call, o, severity, d) end
      if type(session_type) == 'string' then n = n + 1 elseif session_type ~= nil then return checked(call, o, severity, d) end
      if own_severity ~= nil then
        if rank[own_severity] == nil then return checked(call, o, severity, d) end
        n = n + 1
      end
      if id ~= nil or not (is_known or has_keys(o, n)) then
        return checked(call, o, severity, d)
      end
    end
    if d then
      if etype == nil then etype = d.type end
      if user == nil then user = d.user end
      if module == nil then module = d.module end
      if tag == nil then tag = d.tag end
      if description == nil then description = d.description end
      if own_severity == nil then own_severity = d.severity end
      if peer == nil then peer = d.remote end
      if session_type == nil then session_type = d.session_type end
      if id == nil then id = d.uuid end
    end
    if etype == nil then
      etype = 'message'
    end
    if not accepted[etype] then
      accept(call, etype)
    end
    if session_type == nil then
      session_type = 'background'
    end
    return submit(id, severity or own_severity or 'INFO', peer, session_type, module, user, etype, tag, description)
  end

  local function from_text(text, severity, d)
    if d then
      return submit(d.uuid, severity or d.severity or 'INFO', d.remote, d.session_type or 'background', d.module, d.user,
        d.type or 'message', d.tag, text)
    end
    return emit(nil, severity or 'INFO', nil, 'background', nil, nil, 'message', nil, text)
  end

  -- format + arguments; a table among them is shown as JSON. An error of string.format reaches the caller.
  local function from_format(call, severity, d, n, fmt, ...)
    if type(fmt) ~= 'string' then
      local ok, problem = py.check_text(call, pack.value(fmt), n)
      error(ok and problem or tostring(problem), 0)
    end
    local args = { ... }
    for i = 1, n do
      if type(args[i]) == 'table' then
        args[i] = pack.value(args[i])
      elseif args[i] == nil or type(args[i]) == 'boolean' then
        args[i] = tostring(args[i])
      end
    end
    return from_text(format(fmt, unpack(args, 1, n)), severity, d)
  end

  local function log(call, severity, d, n, a, ...)
    if n == 0 then
      local kind = type(a)
      if kind == 'string' then
        return from_text(a, severity, d)
      elseif kind == 'table' then
        return from_table(call, a, severity, d)
      end
      local text = with_text(a)
      if type(text) == 'string' then
        return from_text(text, severity, d)
      end
    elseif n == 1 and ... == KNOWN and type(a) == 'table' then
      return from_table(call, a, severity, d, false, true)
    end
    return from_format(call, severity, d, n, a, ...)
  end

  local audit = {}

  local function shortcut(name, severity)
    local call = 'audit.' .. name
    audit[name] = function(a, ...)
      return log(call, severity, nil, select('#', ...), a, ...)
    end
  end
  shortcut('log', nil)
  shortcut('verbose', 'VERBOSE')
  shortcut('info', 'INFO')
  shortcut('warning', 'WARNING')
  shortcut('alarm', 'ALARM')

  -- Loggers. Their fields are kept apart, so that a policy cannot change a type behind the check.
  local private = setmetatable({}, { __mode = 'k' })
  local Logger = {}
  Logger.__index = Logger
  Logger.__metatable = 'audit.Logger'

  local function defaults_of(self, name)
    local d = private[self]
    if not d then
      error('audit: call it as logger:' .. name .. '(...), with a colon', 3)
    end
    return d
  end

  local function method(name, severity)
    local call = 'audit.' .. name
    Logger[name] = function(self, a, ...)
      local d = private[self] or defaults_of(self, name)
      return log(call, severity, d, select('#', ...), a, ...)
    end
  end
  method('log', nil)
  method('verbose', 'VERBOSE')
  method('info', 'INFO')
  method('warning', 'WARNING')
  method('alarm', 'ALARM')

  local function new_logger(o, inherited)
    local given = o == nil and {} or o
    local t = type(given) == 'table' and with_texts(given) or given
    local ok, problem = py.check('audit.new', pack.value(t), true)
    if not ok or problem then
      error(problem, 0)
    end
    if t.type and not accepted[t.type] then
      accept('audit.new', t.type)
    end
    if inherited then
      for k, v in next, inherited do
        if t[k] == nil then
          t[k] = v
        end
      end
    end
    local logger = setmetatable({}, Logger)
    private[logger] = t
    return logger
  end

  function audit.new(o)
    return new_logger(o, nil)
  end

  function Logger:new(o)
    return new_logger(o, defaults_of(self, 'new'))
  end

  --- A system event: `audit.event{ type =, args = {...} }` or `audit.event('user_create', { user = 'bob' })`.
  function audit.event(...)
    local ok, result = py.event(where(), pack.list(select('#', ...), ...))
    if not ok then
      error(result, 0)
    end
    return result
  end

  -- The hook `audit_event` ------------------------------------------------------------------------------------

  local fixed = { 'id', 'time', 'kind', 'node' }
  local known = {
    id = true, time = true, kind = true, node = true, type = true, severity = true, user = true, peer = true,
    session_type = true, module = true, tag = true, description = true,
  }

  -- What the hook made of an event: true and its fields when the ten-field path can take it, else false and the event
  -- as JSON; or nil and what is wrong. Each field is read once: metamethods of the policy's may answer otherwise later,
  -- or raise.
  local function verdict(ev, was)
    for i = 1, #fixed do
      if ev[fixed[i]] ~= was[fixed[i]] then
        return nil, format("audit_event: '%s' cannot be changed", fixed[i])
      end
    end
    local peer, session_type, module, user, tag = ev.peer, ev.session_type, ev.module, ev.user, ev.tag
    local severity, etype, description = ev.severity, ev.type, ev.description
    local bad = user ~= nil and type(user) ~= 'string' and 'user' or peer ~= nil and type(peer) ~= 'string' and 'peer'
      or session_type ~= nil and type(session_type) ~= 'string' and 'session_type'
      or module ~= nil and type(module) ~= 'string' and 'module' or tag ~= nil and type(tag) ~= 'string' and 'tag'
      or type(description) ~= 'string' and 'description' or type(etype) ~= 'string' and 'type'
    if bad then
      return nil, format("audit_event: field '%s' must be a string", bad)
    end
    if rank[severity] == nil then
      return nil, format("audit_event: unknown severity '%s', expected VERBOSE, INFO, WARNING or ALARM", tostring(severity))
    end
    if etype ~= was.type then
      local ok, problem = pcall(accept, 'audit_event', etype)
      if not ok then
        return nil, problem
      end
    end
    for k in next, ev do
      if not known[k] then
        return false, pack.value(ev)
      end
    end
    return true, severity, peer, session_type, module, user, etype, tag, description
  end

  -- The text of an error value; a `__pack` of the policy's may raise in its turn.
  local function message_of(e)
    if type(e) == 'string' then
      return e
    end
    local ok, text = pcall(pack.value, e)
    return 'error object: ' .. (ok and text or 'a ' .. type(e))
  end

  -- The hook runs in a coroutine of its own, which it cannot leave half-way: a sleep inside stops the whole runtime, and a
  -- yield is an error. So no other task records while `in_hook` is set, and none slips past the hook.
  local OURS = {}
  local runner

  local function run(fn, ev)
    while true do
      fn, ev = yield(OURS, pcall(fn, ev))
    end
  end

  local function ran(resumed, mark, ok, answer)
    in_hook = false
    if resumed and mark == OURS then
      return ok, answer
    end
    runner = nil
    return false, 'audit_event: the handler cannot yield'
  end

  local function call_hook(ev)
    in_hook = true
    runner = runner or create(run)
    return ran(resume(runner, hook, ev))
  end

  local direct

  local function hooked(id, severity, peer, session_type, module, user, etype, tag, description)
    if in_hook then
      return direct(id, severity, peer, session_type, module, user, etype, tag, description)
    end
    local sec, ms = encode.now()
    if id == nil then
      encode.new_id()
      id = string_of(encode.id, 36)
    end
    local was = { id = id, time = encode.utc(sec, ms), kind = 'custom', node = node, type = etype }
    local ev = {
      id = id, time = was.time, kind = 'custom', node = was.node, type = etype, severity = severity, user = user,
      peer = peer, session_type = session_type, module = module, tag = tag, description = description,
    }
    local ok, answer = call_hook(ev)
    local failed
    if not ok then
      failed = message_of(answer)
    elseif answer == false then
      py.hook_dropped()
      return nil
    else
      if type(answer) == 'table' then
        ev = answer
      end
      local readable, is_plain, a, b, c, d, e, f, g, h = pcall(verdict, ev, was)
      if not readable then
        failed = message_of(is_plain)
      elseif is_plain == nil then
        failed = a
      elseif not is_plain then
        local done, result = py.full_event(sec, ms, a)
        if not done then
          error(result, 0)
        end
        if type(result) ~= 'table' then
          return result
        end
        failed = result[1]
      else
        severity, peer, session_type, module, user, etype, tag, description = a, b, c, d, e, f, g, h
      end
    end
    if failed then
      py.hook_failed(failed)
    end
    if user == '' then user = nil end
    if peer == '' then peer = nil end
    if tag == '' then tag = nil end
    if module == '' then module = nil end
    if session_type == '' then session_type = nil end
    copy(encode.id, id, 36)
    return record(sec, ms, severity, peer, session_type, module, user, etype, tag, description)
  end

  local host = { fields_known = KNOWN }

  --- The functions generated for the logs that are open now.
  function host.set_emit(new_emit, new_record)
    direct, record = new_emit, new_record
    emit = hook and hooked or direct
  end

  --- The policy's handler of `audit_event`, or nil.
  function host.set_hook(fn)
    hook = fn
    emit = hook and hooked or direct
  end

  --- Run the hook on an event that is born in Python (a table): 'keep', 'drop', 'change' with JSON, or 'error', text.
  function host.run_hook(ev)
    if in_hook or not hook then
      return 'keep'
    end
    local ok, answer = call_hook(ev)
    if not ok then
      return 'error', message_of(answer)
    elseif answer == false then
      return 'drop'
    end
    local packed, text = pcall(pack.value, type(answer) == 'table' and answer or ev)
    if not packed then
      return 'error', message_of(text)
    end
    return 'change', text
  end

  function host.set_node(name)
    node = name
  end

  return audit, host
end
