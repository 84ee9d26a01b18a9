-- KumoMTA's keysources (section 6.3): where a secret comes from -> its bytes. No message ever holds a secret's value.

local type, tostring, error, next, unpack = type, tostring, error, next, unpack
local format = string.format

local VAULT = { 'vault_mount', 'vault_path', 'vault_key', 'vault_address', 'vault_token' }
local FORMS = "\n  forms: 'path', { key_data = '...' }, { event_name = '...', event_args = { ... } }"

--- *resolve(call, source)*: the bytes of *source*; *call* is named in errors, which carry the policy's line.
return function(host)
  local py, answer = host.py, host.answer

  return function(call, source)
    local function fail(text, ...)
      local at = host.where()
      error(format('%s%s: ', at ~= '' and at .. ': ' or '', call) .. format(text, ...), 0)
    end

    if type(source) == 'string' then
      return answer(py.secret_file(host.where(), call, source))
    elseif type(source) ~= 'table' then
      fail('expected a keysource, got a %s' .. FORMS, type(source))
    end

    for _, name in ipairs(VAULT) do
      if source[name] ~= nil then
        fail("keysource: the key-value vault (%s) is not offered by this host\n"
          .. "  write the secret to a file that only the host may read and give its path, or fetch it in a handler: "
          .. "{ event_name = '...' }", name)
      end
    end
    for name in next, source do
      if name ~= 'key_data' and name ~= 'event_name' and name ~= 'event_args' then
        fail('keysource: unknown option %s' .. FORMS, type(name) == 'string' and format("'%s'", name) or tostring(name))
      end
    end

    if source.key_data ~= nil then
      if type(source.key_data) ~= 'string' then
        fail('keysource: key_data: expected a text, got a %s', type(source.key_data))
      end
      return source.key_data
    end

    local event, args = source.event_name, source.event_args
    if type(event) ~= 'string' then
      fail('keysource: expected a path, key_data or event_name' .. FORMS)
    elseif args ~= nil and type(args) ~= 'table' then
      fail('keysource: event_args: expected a list, got a %s', type(args))
    elseif not host.host.has(event) then
      fail("keysource: Event %s has not been registered\n  register it with kumo.on('%s', function(...) end)", event, event)
    end
    local bytes = host.host.dispatch(event, unpack(args or {}))
    if type(bytes) ~= 'string' then
      fail("keysource: the handler of '%s' must return a text, got %s", event, bytes == nil and 'nil' or 'a ' .. type(bytes))
    end
    return bytes
  end
end
