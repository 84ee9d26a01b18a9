-- kumo.time.*: points in time and spans, exact to the nanosecond over KumoMTA's whole range of years.
-- Inside both are pairs of doubles: whole seconds (rounded down) and nanoseconds 0..999999999.

local calendar = require 'kumoaudit.calendar'

local type, tostring, error, getmetatable, setmetatable = type, tostring, error, getmetatable, setmetatable
local floor, abs, huge = math.floor, math.abs, math.huge
local format, concat = string.format, table.concat
local int64 = require('ffi').typeof 'int64_t'

local NS = 1e9
-- Beyond it doubles skip whole seconds, and no calendar goes there.
local MAX_SECONDS = 2 ^ 53 / 1000

return function(host)
  local py, answer = host.py, host.answer

  local function fail(text, ...)
    local at = host.where()
    error((at ~= '' and at .. ': ' or '') .. format(text, ...), 0)
  end

  local function shown(v)
    return type(v) == 'string' and format('"%s"', v) or (type(v) == 'table' and 'a table' or tostring(v))
  end

  -- Of every object the two numbers, apart from it, so that nothing can change them.
  local seconds_of = setmetatable({}, { __mode = 'k' })
  local nanos_of = setmetatable({}, { __mode = 'k' })

  local Time, Delta = {}, {}

  local function make(kind, sec, nsec)
    local carry = floor(nsec / NS)
    sec, nsec = sec + carry, nsec - carry * NS
    if sec ~= sec or abs(sec) > MAX_SECONDS then
      fail('kumo.time: the result is out of range')
    end
    local object = setmetatable({}, kind)
    seconds_of[object], nanos_of[object] = sec, nsec
    return object
  end

  local function is(object, kind)
    return type(object) == 'table' and getmetatable(object) == kind and seconds_of[object] ~= nil
  end

  -- A number of seconds, split without losing digits.
  local function split(seconds)
    local whole = floor(seconds)
    return whole, floor((seconds - whole) * NS + 0.5)
  end

  local function number(call, v)
    if type(v) ~= 'number' or v ~= v or abs(v) == huge then
      fail('%s: expected a number of seconds, got %s', call, shown(v))
    end
    return v
  end

  local function readonly(what)
    return function(_, name)
      fail('%s: field %s cannot be set', what, shown(name))
    end
  end

  -- Spans -------------------------------------------------------------------------------------------------------

  -- *n* as a number where a double is exact, else as int64_t (prints as `9007199254740993LL`).
  local function whole_units(sec, nsec, per_second)
    local unit = NS / per_second
    if abs(sec) * per_second < 2 ^ 53 - per_second then
      local n = sec * per_second + floor(nsec / unit)
      -- Rounded down so far; towards zero is what a signed count means.
      return (n < 0 and nsec % unit ~= 0) and n + 1 or n
    elseif abs(sec) < 9.2e18 / per_second then
      local n = int64(sec) * int64(per_second) + int64(floor(nsec / unit))
      return (sec < 0 and nsec % unit ~= 0) and n + 1 or n
    end
    return sec * per_second + floor(nsec / unit)
  end

  -- As humantime writes it: `1h 30m`, `2days`, `250ms`; parse_duration reads it back.
  local UNITS = { { 31557600, 'year', 'years' }, { 2630016, 'month', 'months' }, { 86400, 'day', 'days' },
    { 3600, 'h' }, { 60, 'm' }, { 1, 's' } }

  local function human(sec, nsec)
    local sign = ''
    if sec < 0 then
      sign = '-'
      sec, nsec = -sec, -nsec
      if nsec < 0 then
        sec, nsec = sec - 1, nsec + NS
      end
    end
    local out = {}
    local function put(n, one, many)
      if n > 0 then
        out[#out + 1] = format('%.0f%s', n, n > 1 and many or one)
      end
    end
    for i = 1, #UNITS do
      local unit = UNITS[i]
      local n = floor(sec / unit[1])
      put(n, unit[2], unit[3] or unit[2])
      sec = sec - n * unit[1]
    end
    put(floor(nsec / 1e6), 'ms', 'ms')
    put(floor(nsec / 1e3) % 1e3, 'us', 'us')
    put(nsec % 1e3, 'ns', 'ns')
    return #out == 0 and '0s' or sign .. concat(out, ' ')
  end

  local delta_fields = {
    seconds = function(sec, nsec) return sec + nsec / NS end,
    milliseconds = function(sec, nsec) return whole_units(sec, nsec, 1e3) end,
    microseconds = function(sec, nsec) return whole_units(sec, nsec, 1e6) end,
    nanoseconds = function(sec, nsec) return whole_units(sec, nsec, 1e9) end,
    human = human,
  }

  function Delta.__index(delta, name)
    local field = delta_fields[name]
    if not field then
      fail('TimeDelta has no field %s\n  fields: seconds, milliseconds, microseconds, nanoseconds, human', shown(name))
    end
    return field(seconds_of[delta], nanos_of[delta])
  end

  function Delta.__tostring(delta)
    return human(seconds_of[delta], nanos_of[delta])
  end

  -- How it goes to Python and into JSON: seconds, so that every option that takes a duration takes one.
  function Delta.__pack(delta)
    return seconds_of[delta] + nanos_of[delta] / NS
  end

  Delta.__newindex = readonly 'TimeDelta'

  local function same(a, b)
    return seconds_of[a] == seconds_of[b] and nanos_of[a] == nanos_of[b]
  end
  local function before(a, b)
    return seconds_of[a] < seconds_of[b] or (seconds_of[a] == seconds_of[b] and nanos_of[a] < nanos_of[b])
  end
  -- Lua itself refuses to compare objects of two kinds.
  for _, kind in ipairs { Delta, Time } do
    kind.__eq, kind.__lt = same, before
    function kind.__le(a, b)
      return not before(b, a)
    end
  end

  function Delta.__add(a, b)
    if is(a, Delta) and is(b, Time) then
      a, b = b, a
    elseif not (is(a, Delta) and is(b, Delta)) then
      fail('to a TimeDelta only a TimeDelta can be added, got %s\n  write: kumo.time.parse_duration(...)',
        shown(is(a, Delta) and b or a))
    end
    return make(getmetatable(a), seconds_of[a] + seconds_of[b], nanos_of[a] + nanos_of[b])
  end

  function Delta.__sub(a, b)
    if not (is(a, Delta) and is(b, Delta)) then
      fail('from a TimeDelta only a TimeDelta can be taken, got %s\n  write: kumo.time.parse_duration(...)',
        shown(is(a, Delta) and b or a))
    end
    return make(Delta, seconds_of[a] - seconds_of[b], nanos_of[a] - nanos_of[b])
  end

  function Delta.__unm(a)
    return make(Delta, -seconds_of[a], -nanos_of[a])
  end

  -- Points in time ------------------------------------------------------------------------------------------------

  local function now()
    return make(Time, answer(py.time_now()))
  end

  local function fields(t)
    return calendar.fields(seconds_of[t], nanos_of[t])
  end

  local time_fields = {
    unix_timestamp = function(t) return seconds_of[t] end,
    unix_timestamp_millis = function(t) return seconds_of[t] * 1e3 + floor(nanos_of[t] / 1e6) end,
    rfc2822 = function(t) return calendar.rfc2822(fields(t)) end,
    rfc3339 = function(t) return calendar.date_time(fields(t), 'T') .. '+00:00' end,
    elapsed = function(t)
      local sec, nsec = answer(py.time_now())
      return make(Delta, sec - seconds_of[t], nsec - nanos_of[t])
    end,
  }
  for _, name in ipairs { 'year', 'month', 'day', 'hour', 'minute', 'second' } do
    time_fields[name] = function(t) return fields(t)[name] end
  end

  local methods = {}

  --- The time in UTC by a strftime format (the specifiers of Rust's chrono).
  function methods.format(t, spec)
    if not is(t, Time) or type(spec) ~= 'string' then
      fail("Time:format: call it as time:format '%%H:%%M:%%S', with a colon and a text")
    end
    local text, problem = calendar.strftime(fields(t), spec)
    if not text then
      fail('Time:format: %s', problem)
    end
    return text
  end

  function Time.__index(t, name)
    if methods[name] then
      return methods[name]
    end
    local field = time_fields[name]
    if not field then
      fail('Time has no field %s\n  fields: year, month, day, hour, minute, second, unix_timestamp, '
        .. 'unix_timestamp_millis, rfc2822, rfc3339, elapsed; method: format', shown(name))
    end
    return field(t)
  end

  function Time.__tostring(t)
    return calendar.date_time(fields(t), ' ') .. ' UTC'
  end

  function Time.__pack(t)
    return time_fields.rfc3339(t)
  end

  Time.__newindex = readonly 'Time'

  function Time.__add(a, b)
    if is(a, Time) and is(b, Delta) or is(a, Delta) and is(b, Time) then
      return make(Time, seconds_of[a] + seconds_of[b], nanos_of[a] + nanos_of[b])
    end
    fail('to a Time only a TimeDelta can be added, got %s\n  write: time + kumo.time.parse_duration(...)',
      is(a, Time) and is(b, Time) and 'a Time' or shown(is(a, Time) and b or a))
  end

  function Time.__sub(a, b)
    if is(a, Time) and (is(b, Delta) or is(b, Time)) then
      return make(is(b, Time) and Delta or Time, seconds_of[a] - seconds_of[b], nanos_of[a] - nanos_of[b])
    end
    fail('from a Time only a Time or a TimeDelta can be taken, got %s\n  write: time - kumo.time.parse_duration(...)',
      shown(is(a, Time) and b or a))
  end

  -- kumo.time -----------------------------------------------------------------------------------------------------

  host.put('kumo.time.now', now)

  host.put('kumo.time.from_unix_timestamp', function(seconds)
    return make(Time, split(number('kumo.time.from_unix_timestamp', seconds)))
  end)

  host.put('kumo.time.with_ymd_hms', function(...)
    local parts = { ... }
    for i, name in ipairs { 'year', 'month', 'day', 'hour', 'minute', 'second' } do
      local v = parts[i]
      if type(v) ~= 'number' or v ~= floor(v) or abs(v) > 262142 then
        fail('kumo.time.with_ymd_hms: %s: expected a whole number, got %s', name, shown(v))
      end
    end
    local sec, problem = calendar.seconds(unpack(parts, 1, 6))
    if not sec then
      fail('kumo.time.with_ymd_hms: %s', problem)
    end
    return make(Time, sec, 0)
  end)

  for _, name in ipairs { 'rfc3339', 'rfc2822' } do
    local call = 'kumo.time.parse_' .. name
    host.put(call, function(text)
      if type(text) ~= 'string' then
        fail('%s: expected a text, got %s', call, shown(text))
      end
      local sec, nsec, problem = answer(py.time_parse(name, text))
      if problem then
        fail('%s: %s', call, problem)
      end
      return make(Time, sec, nsec)
    end)
  end

  --- A span from a number of seconds (of either sign) or a text such as `5 minutes`.
  host.put('kumo.time.parse_duration', function(value)
    if is(value, Delta) then
      return value
    elseif type(value) == 'string' then
      local sec, nsec, problem = answer(py.time_parse('duration', value))
      if problem then
        fail('kumo.time.parse_duration: %s', problem)
      end
      return make(Delta, sec, nsec)
    elseif type(value) ~= 'number' or value ~= value or abs(value) == huge then
      fail("kumo.time.parse_duration: expected a number of seconds or a text such as '5 minutes', got %s", shown(value))
    end
    return make(Delta, split(value))
  end)

  host.put('kumo.time.sleep', host.kumo.sleep)

  local Timer = { __metatable = 'kumo.time.Timer' }
  Timer.__index = Timer
  local started, labels = setmetatable({}, { __mode = 'k' }), setmetatable({}, { __mode = 'k' })

  --- Seconds since the timer was started, counted under its label; nil when it was done before.
  function Timer:done()
    local since = started[self]
    if not since then
      if not labels[self] then
        fail('Timer: call it as timer:done(), with a colon')
      end
      return nil
    end
    local elapsed = answer(py.monotonic()) - since
    started[self] = nil
    answer(py.timer_done(labels[self], elapsed))
    return elapsed
  end

  host.put('kumo.time.start_timer', function(label)
    if type(label) ~= 'string' or label == '' then
      fail('kumo.time.start_timer: expected a label, got %s', shown(label))
    end
    local timer = setmetatable({}, Timer)
    started[timer], labels[timer] = answer(py.monotonic()), label
    return timer
  end)
end
