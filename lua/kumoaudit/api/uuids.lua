-- kumo.uuid.*: UUIDs as objects whose fields are the ways to write them.

local type, error, setmetatable = type, error, setmetatable
local format, gsub, byte, sub = string.format, string.gsub, string.byte, string.sub

return function(host)
  local py, answer = host.py, host.answer
  local bytes_of = setmetatable({}, { __mode = 'k' })
  local Uuid = {}

  local function fail(text)
    local at = host.where()
    error((at ~= '' and at .. ': ' or '') .. text, 0)
  end

  local function simple(uuid)
    return (gsub(bytes_of[uuid], '.', function(c)
      return format('%02x', byte(c))
    end))
  end

  local function hyphenated(uuid)
    local s = simple(uuid)
    return sub(s, 1, 8) .. '-' .. sub(s, 9, 12) .. '-' .. sub(s, 13, 16) .. '-' .. sub(s, 17, 20) .. '-' .. sub(s, 21)
  end

  local fields = {
    bytes = function(uuid) return bytes_of[uuid] end,
    simple = simple,
    hyphenated = hyphenated,
    braced = function(uuid) return '{' .. hyphenated(uuid) .. '}' end,
    urn = function(uuid) return 'urn:uuid:' .. hyphenated(uuid) end,
  }

  function Uuid.__index(uuid, name)
    if fields[name] then
      return fields[name](uuid)
    end
    fail('a UUID has no field ' .. (type(name) == 'string' and "'" .. name .. "'" or 'of type ' .. type(name))
      .. '\n  fields: hyphenated, simple, braced, urn, bytes')
  end

  function Uuid.__newindex()
    fail('a UUID cannot be changed')
  end

  function Uuid.__eq(a, b)
    return bytes_of[a] == bytes_of[b]
  end

  -- In texts, in JSON and in arguments of the host it is its hyphenated form.
  Uuid.__tostring, Uuid.__pack = hyphenated, hyphenated

  local function make(bytes)
    local uuid = setmetatable({}, Uuid)
    bytes_of[uuid] = bytes
    return uuid
  end

  host.put('kumo.uuid.parse', function(text)
    local plain = type(text) == 'string' or type(text) == 'number' or type(text) == 'boolean'
    return make(answer(py.uuid_parse(host.where(), plain and text or nil)))
  end)

  for _, version in ipairs { 'v1', 'v4', 'v6', 'v7' } do
    host.put('kumo.uuid.new_' .. version, function()
      return make(answer(py.uuid_new(version)))
    end)
  end
end
