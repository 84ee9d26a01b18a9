-- kumo.traceback and kumo.get_event_registrars: the call stack as data. Frames of the host itself are left out.

local type, error, tostring, getinfo = type, error, tostring, debug.getinfo
local format = string.format

return function(host)
  local kumo = host.kumo

  local function frames()
    local out, level = {}, 2
    while true do
      local info = getinfo(level, 'nSl')
      if not info then
        return out
      end
      if host.host.is_policy(info.source) then
        out[#out + 1] = info
      end
      level = level + 1
    end
  end

  --- Frames of the policy from the *level*-th (1 is the caller) outwards.
  host.put('kumo.traceback', function(level)
    if level == nil then
      level = 1
    elseif type(level) ~= 'number' or level < 0 or level ~= math.floor(level) then
      local at = host.where()
      error(format('%s: kumo.traceback: expected a level of 1 or more, got %s', at, tostring(level)), 0)
    end
    local out = {}
    for i, info in ipairs(frames()) do
      if i >= level then
        out[#out + 1] = {
          name = info.name, name_what = info.namewhat ~= '' and info.namewhat or nil, source = info.source,
          short_src = info.short_src, what = info.what, curr_line = info.currentline, line_defined = info.linedefined,
          last_line_defined = info.lastlinedefined, is_tail_call = false,
        }
      end
    end
    return out
  end)

  local registrars = {}
  local on = kumo.on

  host.put('kumo.on', function(event, fn)
    on(event, fn)
    local stack = {}
    for i, info in ipairs(frames()) do
      stack[i] = format('%s:%d', info.short_src, info.currentline)
    end
    local list = registrars[event] or {}
    registrars[event] = list
    list[#list + 1] = stack
  end)

  --- For each handler of *event* the call stack of its kumo.on, innermost first; nil when there is none.
  host.put('kumo.get_event_registrars', function(event)
    local list = registrars[event]
    if not list then
      return nil
    end
    local out = {}
    for i, stack in ipairs(list) do
      out[i] = { unpack(stack) }
    end
    return out
  end)
end
