-- Helpers that policies of KumoMTA require by this name; written anew for this host.

local kumo = require 'kumo'

local utils = {}

--- Whether two values are equal; tables are compared by what they hold.
function utils.equals(a, b, ignore_mt)
  if a == b then
    return true
  elseif type(a) ~= 'table' or type(b) ~= 'table' then
    return false
  end
  local mt = getmetatable(a)
  if not ignore_mt and type(mt) == 'table' and mt.__eq then
    return false -- the objects know, and `==` has asked them
  end
  for k, v in pairs(a) do
    if not utils.equals(v, b[k], ignore_mt) then
      return false
    end
  end
  for k in pairs(b) do
    if a[k] == nil then
      return false
    end
  end
  return true
end

local function said(message, a, relation, b)
  local start = message and tostring(message) .. '. ' or ''
  return start .. 'expected\n' .. utils.dumps(a) .. '\n ' .. relation .. ' \n' .. utils.dumps(b)
end

--- Raise an error, at the caller's line, unless *a* equals *b*.
function utils.assert_eq(a, b, message)
  if not utils.equals(a, b) then
    error(said(message, a, '==', b), 2)
  end
end

--- Raise an error, at the caller's line, if *a* equals *b*.
function utils.assert_ne(a, b, message)
  if utils.equals(a, b) then
    error(said(message, a, '!=', b), 2)
  end
end

--- Whether *text* begins with *start*.
function utils.starts_with(text, start)
  return text:sub(1, #start) == start
end

--- Whether *text* ends with *tail*; every text ends with ''.
function utils.ends_with(text, tail)
  return tail == '' or text:sub(-#tail) == tail
end

--- Whether a value of *t* is *value*; nil is in no table.
function utils.table_contains(t, value)
  if value ~= nil then
    for _, v in pairs(t) do
      if v == value then
        return true
      end
    end
  end
  return false
end

--- The keys of *t* as a list, in no particular order.
function utils.table_keys(t)
  local keys = {}
  for k in pairs(t) do
    keys[#keys + 1] = k
  end
  return keys
end

function utils.table_is_empty(t)
  return next(t) == nil
end

--- Put everything of *from* (or nothing, when nil) into *into*.
function utils.merge_into(from, into)
  for k, v in pairs(from or {}) do
    into[k] = v
  end
end

--- As merge_into; tables that are on both sides are merged themselves.
function utils.recursive_merge_into(from, into)
  for k, v in pairs(from or {}) do
    if type(v) == 'table' and type(into[k]) == 'table' then
      utils.recursive_merge_into(v, into[k])
    else
      into[k] = v
    end
  end
end

--- A table as it is; a file by its ending: `.toml`, `.yaml` or `.yml`, else JSON.
function utils.load_json_or_toml_file(filename)
  if type(filename) == 'table' then
    return filename
  elseif filename:find '%.toml$' then
    return kumo.serde.toml_load(filename)
  elseif filename:find '%.ya?ml$' then
    return kumo.serde.yaml_load(filename)
  end
  return kumo.serde.json_load(filename)
end

--- `127.0.0.1:25` -> `127.0.0.1`, `25`; the brackets of `[::1]:25` are taken off. nil for anything else.
function utils.split_ip_port(text)
  local ip, port = text:match '^(.*):(%d+)$'
  return ip and (ip:match '^%[(.*)%]$' or ip), port
end

local function by_type_and_value(a, b)
  local ta, tb = type(a), type(b)
  if ta ~= tb then
    return ta < tb
  elseif ta == 'number' or ta == 'string' then
    return a < b
  end
  return tostring(a) < tostring(b)
end

local function dump(value, indent, open)
  local kind = type(value)
  if kind == 'number' or kind == 'boolean' or kind == 'nil' then
    return tostring(value)
  elseif kind ~= 'table' then
    return ('%q'):format(tostring(value))
  elseif open[value] then
    return '[recursive node]'
  end
  local mt = getmetatable(value)
  if value == kumo.null or type(mt) == 'table' and mt.__tostring then
    return tostring(value)
  end
  local keys = utils.table_keys(value)
  if #keys == 0 then
    return '{}'
  end
  table.sort(keys, by_type_and_value)
  open[value] = true
  local lines = {}
  for i, k in ipairs(keys) do
    local name = type(k) == 'string' and ('%q'):format(k) or tostring(k)
    lines[i] = ('%s[%s] = %s'):format((' '):rep(indent), name, dump(value[k], indent + 2, open))
  end
  open[value] = nil
  return '{\n' .. table.concat(lines, ',\n') .. '\n' .. (' '):rep(indent - 2) .. '}'
end

--- *value* as text for people, keys sorted.
function utils.dumps(value)
  return dump(value, 2, {})
end

return utils
