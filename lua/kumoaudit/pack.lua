-- Lua values -> one JSON text, the only way in which values of the policy reach Python.
-- Nothing is lost: functions and the like become markers that the receiver can refuse by name, cycles and depth are
-- marked, numbers keep every digit, bytes that are not UTF-8 are shown as \xHH, keys are sorted.

local encode = require 'kumoaudit.encode'

local type, tostring, tonumber, next, rawget, getmetatable = type, tostring, tonumber, next, rawget, getmetatable
local format, concat, sort, floor, huge = string.format, table.concat, table.sort, math.floor, math.huge
local gsub, match = string.gsub, string.match
local escaped = encode.escaped

local MAX_DEPTH = 200

local pack = {}

-- `kumo.null` and the tag of arrays (so that an empty one stays a list).
pack.null = setmetatable({}, { __tostring = function() return 'null' end, __metatable = 'kumo.null' })
pack.array_tag = { __metatable = 'kumo.array' }

local function number(n)
  if n ~= n then
    return '"nan"'
  elseif n == huge then
    return '"inf"'
  elseif n == -huge then
    return '"-inf"'
  elseif n == floor(n) and n > -2 ^ 63 and n < 2 ^ 63 then
    return format('%.0f', n)
  end
  -- As few digits as say it exactly: 0.1, not 0.10000000000000001.
  local text = format('%.15g', n)
  if tonumber(text) ~= n then
    text = format('%.16g', n)
  end
  return tonumber(text) == n and text or format('%.17g', n)
end

local value

local function list(t, n, depth, open, out)
  out[#out + 1] = '['
  for i = 1, n do
    if i > 1 then
      out[#out + 1] = ','
    end
    value(t[i], depth, open, out)
  end
  out[#out + 1] = ']'
end

-- The number of items when the keys are exactly 1..n, else nil.
local function length(t)
  local n = 0
  for k in next, t do
    if type(k) ~= 'number' then
      return nil
    end
    n = n + 1
  end
  for i = 1, n do
    if rawget(t, i) == nil then
      return nil
    end
  end
  return n
end

local function map(t, depth, open, out)
  local keys, by_text = {}, {}
  for k in next, t do
    local text = type(k) == 'string' and k or tostring(k)
    if by_text[text] == nil then
      keys[#keys + 1] = text
      by_text[text] = k
    end
  end
  sort(keys)
  out[#out + 1] = '{'
  for i = 1, #keys do
    out[#out + 1] = (i > 1 and ',"' or '"') .. escaped(keys[i]) .. '":'
    value(t[by_text[keys[i]]], depth, open, out)
  end
  out[#out + 1] = '}'
end

function value(v, depth, open, out)
  local kind = type(v)
  if kind == 'string' then
    out[#out + 1] = '"' .. escaped(v) .. '"'
  elseif kind == 'number' then
    out[#out + 1] = number(v)
  elseif kind == 'boolean' then
    out[#out + 1] = tostring(v)
  elseif v == nil or v == pack.null then
    out[#out + 1] = 'null'
  elseif kind == 'table' then
    if open[v] then
      out[#out + 1] = '"<cycle>"'
      return
    elseif depth >= MAX_DEPTH then
      out[#out + 1] = '"<depth>"'
      return
    end
    local mt = getmetatable(v)
    if type(mt) == 'table' and mt.__pack then
      return value(mt.__pack(v), depth + 1, open, out)
    end
    open[v] = true
    local n = length(v)
    if n and (n > 0 or mt == 'kumo.array') then
      list(v, n, depth + 1, open, out)
    else
      map(v, depth + 1, open, out)
    end
    open[v] = nil
  elseif kind == 'cdata' and match(tostring(v), '^%-?%d+U?LL$') then
    -- 64-bit integers: digits, exactly.
    out[#out + 1] = (gsub(tostring(v), 'U?LL$', ''))
  else
    out[#out + 1] = '{"$lua":"' .. (kind == 'cdata' and 'C data' or kind) .. '"}'
  end
end

--- One value as JSON text.
function pack.value(v)
  local out = {}
  value(v, 0, {}, out)
  return concat(out)
end

--- *n* values as a JSON list.
function pack.list(n, ...)
  local args, out = { ... }, {}
  list(args, n, 0, {}, out)
  return concat(out)
end

return pack
