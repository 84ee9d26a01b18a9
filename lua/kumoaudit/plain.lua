-- What of a Lua value cannot be written as data, said with its place: checked before a value is encoded.

local type, tostring, next, rawget, getmetatable = type, tostring, next, rawget, getmetatable
local format, match, huge = string.format, string.match, math.huge

local MAX_DEPTH = 200

local function step(at, k)
  if type(k) == 'number' then
    return format('%s[%s]', at, tostring(k))
  elseif match(tostring(k), '^[%a_][%w_]*$') then
    return at .. '.' .. tostring(k)
  end
  return format('%s[%q]', at, tostring(k))
end

local problem

function problem(v, at, depth, open)
  local kind = type(v)
  if kind == 'table' then
    local mt = getmetatable(v)
    if type(mt) == 'table' and mt.__pack and depth < MAX_DEPTH then
      return problem(mt.__pack(v), at, depth + 1, open)
    elseif open[v] then
      return at, 'the table holds itself'
    elseif depth >= MAX_DEPTH then
      return at, format('more than %d tables inside each other', MAX_DEPTH)
    end
    open[v] = true
    for k, item in next, v do
      if type(k) ~= 'string' and type(k) ~= 'number' then
        return at, format('a key is a %s; keys are texts or numbers', type(k))
      elseif type(k) == 'number' and rawget(v, tostring(k)) ~= nil then
        return step(at, k), 'the key is there twice, as a number and as a text'
      end
      local where, what = problem(item, step(at, k), depth + 1, open)
      if where then
        return where, what
      end
    end
    open[v] = nil
  elseif kind == 'number' then
    if v ~= v or v == huge or v == -huge then
      return at, format('%s is not a number that can be written', tostring(v))
    end
  elseif kind == 'cdata' then
    if not match(tostring(v), '^%-?%d+U?LL$') then
      return at, 'C data cannot be written'
    end
  elseif kind == 'function' or kind == 'userdata' or kind == 'thread' then
    return at, format('a %s cannot be written', kind)
  end
end

--- nil when *v* is plain data (texts, finite numbers, 64-bit integers, booleans, nil, kumo.null, tables of these), else a text
--- such as `.users[2].check: a function cannot be written`.
return function(v)
  local where, what = problem(v, '', 0, {})
  if where then
    return (where ~= '' and where .. ': ' or '') .. what
  end
end
