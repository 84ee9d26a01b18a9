-- kumo.cidr.*: maps from networks to values of the policy.

local type, pairs, setmetatable, error = type, pairs, setmetatable, error
local sub = string.sub

return function(host)
  local py, answer = host.py, host.answer

  --- A map by IP address; the longest prefix wins.
  host.put('kumo.cidr.make_map', function(networks)
    local by_prefix = {}

    local function set(_, key, value)
      local text = type(key) == 'string'
      by_prefix[answer(py.cidr_network(host.where(), type(key), text and key or ''))] = value
    end

    local function get(_, key)
      if type(key) ~= 'string' then
        return nil
      end
      local bits = answer(py.cidr_address(key))
      if not bits then
        return nil
      end
      for n = #bits, 1, -1 do
        local value = by_prefix[sub(bits, 1, n)]
        if value ~= nil then
          return value
        end
      end
      return nil
    end

    if networks ~= nil and type(networks) ~= 'table' then
      error(host.where() .. ': kumo.cidr.make_map: expected a table of networks, got a ' .. type(networks), 0)
    end
    for key, value in pairs(networks or {}) do
      set(nil, key, value)
    end
    return setmetatable({}, { __index = get, __newindex = set, __metatable = false })
  end)
end
