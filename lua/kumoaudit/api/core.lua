-- kumo.log_* and kumo.sleep: what needs values as Lua shows them, or the task that is running.

local select, tostring, type, error = select, tostring, type, error
local concat = table.concat

return function(host)
  local kumo = host.kumo

  -- Any number of values, each as tostring shows it, joined by a space (KumoMTA section 6).
  local function shown(...)
    local out = {}
    for i = 1, select('#', ...) do
      out[i] = tostring((select(i, ...)))
    end
    return concat(out, ' ')
  end

  for _, level in ipairs { 'error', 'warn', 'info', 'debug' } do
    host.put('kumo.log_' .. level, function(...)
      return kumo['_log_' .. level](shown(...))
    end)
  end

  host.put('kumo.sleep', function(seconds)
    if type(seconds) ~= 'number' or seconds ~= seconds or seconds < 0 then
      error('kumo.sleep: expected a number of seconds >= 0, got ' .. tostring(seconds), 2)
    end
    host.host.sleep(seconds)
  end)

  kumo.null = host.pack.null
  --- A list that stays a list when it is empty.
  function kumo.array(t)
    return setmetatable(t or {}, host.pack.array_tag)
  end
end
