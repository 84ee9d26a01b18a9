-- The proleptic Gregorian calendar in UTC, and strftime as chrono (the library behind KumoMTA's Time:format) has it.
-- Times are pairs: whole seconds since 1970 (any sign) and nanoseconds 0..999999999. Doubles hold both exactly.

local floor, abs = math.floor, math.abs
local format, gsub, sub, rep = string.format, string.gsub, string.sub, string.rep

local calendar = {}

local DAYS = { 'Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday' }
local MONTHS = { 'January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October',
  'November', 'December' }
local MONTH_DAYS = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }

local function is_leap(year)
  return year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)
end

--- Days from 1970-01-01 to the given date (months and days from 1).
local function days_from_civil(year, month, day)
  local y = month <= 2 and year - 1 or year
  local era = floor(y / 400)
  local of_era = y - era * 400
  local of_year = floor((153 * (month + (month > 2 and -3 or 9)) + 2) / 5) + day - 1
  return era * 146097 + of_era * 365 + floor(of_era / 4) - floor(of_era / 100) + of_year - 719468
end

--- Seconds since 1970 of a date and time in UTC, or nil and what is wrong.
function calendar.seconds(year, month, day, hour, minute, second)
  if month < 1 or month > 12 then
    return nil, format('month %d is not 1..12', month)
  end
  local last = month == 2 and is_leap(year) and 29 or MONTH_DAYS[month]
  if day < 1 or day > last then
    return nil, format('day %d is not 1..%d', day, last)
  elseif hour < 0 or hour > 23 then
    return nil, format('hour %d is not 0..23', hour)
  elseif minute < 0 or minute > 59 then
    return nil, format('minute %d is not 0..59', minute)
  elseif second < 0 or second > 59 then
    return nil, format('second %d is not 0..59', second)
  end
  return days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second
end

--- The fields of a time: year, month, day, hour, minute, second, weekday (0 is Sunday), yearday (from 1).
function calendar.fields(sec, nsec)
  local days = floor(sec / 86400)
  local rest = sec - days * 86400
  local z = days + 719468
  local era = floor(z / 146097)
  local of_era = z - era * 146097
  local year_of_era = floor((of_era - floor(of_era / 1460) + floor(of_era / 36524) - floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * year_of_era + floor(year_of_era / 4) - floor(year_of_era / 100))
  local shifted = floor((5 * of_year + 2) / 153)
  local day = of_year - floor((153 * shifted + 2) / 5) + 1
  local month = shifted + (shifted < 10 and 3 or -9)
  local year = year_of_era + era * 400 + (month <= 2 and 1 or 0)
  return {
    sec = sec, nsec = nsec, year = year, month = month, day = day,
    hour = floor(rest / 3600), minute = floor(rest % 3600 / 60), second = rest % 60,
    weekday = (days + 4) % 7, yearday = days - days_from_civil(year, 1, 1) + 1,
  }
end

-- Four digits at least; beyond them with a sign, as ISO 8601 wants it.
local function year_text(year)
  if year >= 0 and year <= 9999 then
    return format('%04d', year)
  end
  return (year < 0 and '-' or '+') .. format('%04d', abs(year))
end

--- The fraction with the fewest of 0, 3, 6 or 9 digits that are exact, with its dot.
local function fraction(nsec)
  if nsec == 0 then
    return ''
  elseif nsec % 1e6 == 0 then
    return format('.%03d', nsec / 1e6)
  elseif nsec % 1e3 == 0 then
    return format('.%06d', nsec / 1e3)
  end
  return format('.%09d', nsec)
end

--- `2000-01-02 03:04:05`, with the fraction when there is one.
function calendar.date_time(f, between)
  return format('%s-%02d-%02d%s%02d:%02d:%02d%s', year_text(f.year), f.month, f.day, between, f.hour, f.minute, f.second,
    fraction(f.nsec))
end

function calendar.rfc2822(f)
  return format('%s, %d %s %04d %02d:%02d:%02d +0000', sub(DAYS[f.weekday + 1], 1, 3), f.day, sub(MONTHS[f.month], 1, 3),
    f.year, f.hour, f.minute, f.second)
end

-- ISO 8601: year and number of the week that the day is in.
local function iso_week(f)
  local from_monday = (f.weekday + 6) % 7
  local year = f.year
  local week = floor((f.yearday - 1 - from_monday + 10) / 7)
  if week < 1 then
    year = year - 1
    local last = is_leap(year) and 366 or 365
    week = floor((f.yearday - 1 + last - from_monday + 10) / 7)
  elseif week == 53 then
    local last = is_leap(year) and 366 or 365
    if f.yearday - 1 - from_monday + 3 >= last then
      year, week = year + 1, 1
    end
  end
  return year, week
end

local function twelve(hour)
  return (hour + 11) % 12 + 1
end

-- Numbers: value, width, usual padding. `%-d`, `%_d` and `%0d` change the padding.
local numbers = {
  C = function(f) return floor(f.year / 100), 2, '0' end,
  y = function(f) return f.year % 100, 2, '0' end,
  m = function(f) return f.month, 2, '0' end,
  d = function(f) return f.day, 2, '0' end,
  e = function(f) return f.day, 2, ' ' end,
  w = function(f) return f.weekday, 1, '0' end,
  u = function(f) return (f.weekday + 6) % 7 + 1, 1, '0' end,
  U = function(f) return floor((f.yearday + 6 - f.weekday) / 7), 2, '0' end,
  W = function(f) return floor((f.yearday + 6 - (f.weekday + 6) % 7) / 7), 2, '0' end,
  g = function(f) return (iso_week(f)) % 100, 2, '0' end,
  V = function(f) return select(2, iso_week(f)), 2, '0' end,
  j = function(f) return f.yearday, 3, '0' end,
  H = function(f) return f.hour, 2, '0' end,
  k = function(f) return f.hour, 2, ' ' end,
  I = function(f) return twelve(f.hour), 2, '0' end,
  l = function(f) return twelve(f.hour), 2, ' ' end,
  M = function(f) return f.minute, 2, '0' end,
  S = function(f) return f.second, 2, '0' end,
  s = function(f) return f.sec, 1, '0' end,
  f = function(f) return f.nsec, 9, '0' end,
}

local texts = {
  Y = function(f) return year_text(f.year) end,
  G = function(f) return year_text((iso_week(f))) end,
  b = function(f) return sub(MONTHS[f.month], 1, 3) end,
  B = function(f) return MONTHS[f.month] end,
  a = function(f) return sub(DAYS[f.weekday + 1], 1, 3) end,
  A = function(f) return DAYS[f.weekday + 1] end,
  P = function(f) return f.hour < 12 and 'am' or 'pm' end,
  p = function(f) return f.hour < 12 and 'AM' or 'PM' end,
  Z = function() return 'UTC' end,
  z = function() return '+0000' end,
  ['+'] = function(f) return calendar.date_time(f, 'T') .. '+00:00' end,
  t = function() return '\t' end,
  n = function() return '\n' end,
  ['%'] = function() return '%' end,
}
texts.h = texts.b

local composed = { D = '%m/%d/%y', x = '%m/%d/%y', F = '%Y-%m-%d', v = '%e-%b-%Y', R = '%H:%M', T = '%H:%M:%S',
  X = '%H:%M:%S', r = '%I:%M:%S %p', c = '%a %b %e %H:%M:%S %Y' }

local zones = { [':z'] = '+00:00', ['::z'] = '+00:00:00', [':::z'] = '+00', ['#z'] = '+00' }

local function padded(value, width, padding)
  local text = format('%.0f', abs(value))
  if padding ~= '' then
    text = rep(padding, width - #text) .. text
  end
  return value < 0 and '-' .. text or text
end

--- *f* (of `fields`) formatted, or nil and what is wrong with the format.
function calendar.strftime(f, spec)
  local out, at = {}, 1
  while true do
    local from = spec:find('%', at, true)
    out[#out + 1] = sub(spec, at, (from or #spec + 1) - 1)
    if not from then
      return table.concat(out)
    end
    local zone = spec:match('^:*#?z', from + 1)
    local digits, tail = spec:match('^(%.?[369])(f)', from + 1)
    if not digits then
      digits, tail = spec:match('^(%.)(f)', from + 1)
    end
    local change, letter = spec:match('^([-_0]?)(.)', from + 1)
    if zone and zones[zone] then
      out[#out + 1] = zones[zone]
      at = from + 1 + #zone
    elseif digits then
      local n = tonumber((gsub(digits, '%.', '')))
      local text = n and sub(format('%09d', f.nsec), 1, n) or gsub(fraction(f.nsec), '^%.', '')
      out[#out + 1] = (sub(digits, 1, 1) == '.' and text ~= '') and '.' .. text or text
      at = from + 1 + #digits + #tail
    elseif letter and numbers[letter] then
      local value, width, padding = numbers[letter](f)
      if change ~= '' then
        padding = change == '-' and '' or (change == '_' and ' ' or '0')
      end
      out[#out + 1] = padded(value, width, padding)
      at = from + 2 + #change
    elseif letter and change == '' and texts[letter] then
      out[#out + 1] = texts[letter](f)
      at = from + 2
    elseif letter and change == '' and composed[letter] then
      out[#out + 1] = calendar.strftime(f, composed[letter])
      at = from + 2
    else
      return nil, format("'%s' is no specifier of strftime (at byte %d); a percent sign is written %%%%",
        sub(spec, from, from + #(change or '') + 1), from)
    end
  end
end

return calendar
