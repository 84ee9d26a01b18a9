-- require 'sqlite': databases as objects around a number.

local type, error, select, next, unpack, format = type, error, select, next, unpack, string.format

return function(host)
  local py, answer, pack = host.py, host.answer, host.pack
  local handles = require 'kumoaudit.handles' (host)

  local function fail(text, ...)
    local at = host.where()
    error((at ~= '' and at .. ': ' or '') .. format(text, ...), 0)
  end

  -- What SQL takes as a value; kumo.null is NULL.
  local function value(v, name)
    local kind = type(v)
    if v == pack.null then
      return nil
    elseif kind == 'table' or kind == 'function' or kind == 'userdata' or kind == 'cdata' or kind == 'thread' then
      fail('db:execute: parameter %s: expected a number, a text, a boolean or nil, got a %s', name, kind)
    end
    return v
  end

  -- A table of parameters -> how many, their values, their names as JSON (nil for a list).
  local function of_table(t)
    if #t > 0 or next(t) == nil then
      local values = {}
      for i = 1, #t do
        values[i] = value(t[i], i)
      end
      return #t, values, nil
    end
    local n, values, names = 0, {}, {}
    for k, v in next, t do
      n = n + 1
      names[n] = type(k) == 'string' and k or false
      values[n] = value(v, format('%q', tostring(k)))
    end
    return n, values, pack.list(n, unpack(names, 1, n))
  end

  local Database = {}
  Database.__index = Database

  function Database.__tostring()
    return 'a database'
  end

  --- Run one statement.
  function Database.execute(db, sql, ...)
    local number = handles.number(db)
    if not number then
      fail('db:execute: call it as db:execute(sql, ...), with a colon')
    end
    local n, values, names = select('#', ...), { ... }, nil
    if n == 1 and type(values[1]) == 'table' and values[1] ~= pack.null then
      n, values, names = of_table(values[1])
    else
      for i = 1, n do
        values[i] = value(values[i], i)
      end
    end
    local text = type(sql) == 'string'
    return (host.host.work('sqlite_execute', host.where(), number, type(sql), text and sql or '', names,
      unpack(values, 1, n)))
  end

  host.provide('sqlite', {
    open = function(...)
      return handles.new(answer(py.sqlite_open(host.where(), pack.list(select('#', ...), ...))), Database)
    end,
  })
end
