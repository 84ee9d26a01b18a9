-- kumo.digest.*: hashes and HMACs as objects whose fields are the encodings.

local problem = require 'kumoaudit.plain'

local type, error, select, setmetatable = type, error, select, setmetatable
local format, concat = string.format, table.concat

local PLAIN = { 'crc32', 'sha1', 'sha224', 'sha256', 'sha384', 'sha512', 'sha3_256', 'sha3_384', 'sha3_512' }
local KEYED = { 'sha1', 'sha224', 'sha256', 'sha384', 'sha512' }
local FIELDS = { hex = true, base32 = true, base32_nopad = true, base64 = true, base64_nopad = true, base64url = true,
  base64url_nopad = true }

return function(host)
  local py, answer, pack = host.py, host.answer, host.pack
  local resolve = require 'kumoaudit.keysource' (host)

  local function fail(text, ...)
    local at = host.where()
    error((at ~= '' and at .. ': ' or '') .. format(text, ...), 0)
  end

  local bytes_of = setmetatable({}, { __mode = 'k' })
  local Digest = {}

  function Digest.__index(digest, name)
    if name == 'bytes' then
      return bytes_of[digest]
    elseif FIELDS[name] then
      return answer(py.encoded(name, bytes_of[digest]))
    end
    fail('a digest has no field %s\n  fields: bytes, hex, base32, base64, base64url, and base32_nopad, base64_nopad, '
      .. 'base64url_nopad', type(name) == 'string' and "'" .. name .. "'" or 'of type ' .. type(name))
  end

  function Digest.__tostring(digest)
    return digest.hex
  end

  function Digest.__eq(a, b)
    return bytes_of[a] == bytes_of[b]
  end

  -- In JSON and in arguments of the host it is its hex text.
  function Digest.__pack(digest)
    return digest.hex
  end

  function Digest.__newindex()
    fail('a digest cannot be changed')
  end

  local function make(bytes)
    local digest = setmetatable({}, Digest)
    bytes_of[digest] = bytes
    return digest
  end

  -- What a value contributes: texts their bytes, everything else its JSON.
  local function data_of(call, v)
    if type(v) == 'string' then
      return v
    end
    local what = problem(v)
    if what then
      fail('%s: %s', call, what)
    end
    return pack.value(v)
  end

  for _, name in ipairs(PLAIN) do
    local call = 'kumo.digest.' .. name
    host.put(call, function(...)
      local parts = {}
      for i = 1, select('#', ...) do
        parts[i] = data_of(call, (select(i, ...)))
      end
      return make(answer(py.digest(name, concat(parts))))
    end)
  end

  for _, name in ipairs(KEYED) do
    local call = 'kumo.digest.hmac_' .. name
    --- *key* is a keysource, so that the key itself need not stand in the policy.
    host.put(call, function(key, message)
      if type(message) ~= 'string' then
        fail('%s: expected a key and a message, got a message of type %s', call, type(message))
      end
      return make(answer(py.hmac(name, resolve(call, key), message)))
    end)
  end
end
