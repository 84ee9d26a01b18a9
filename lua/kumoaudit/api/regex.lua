-- kumo.regex.*: compiled patterns as objects around a number.

local type, error, format, floor = type, error, string.format, math.floor

-- A longer text is searched outside the gate: other handlers go on meanwhile.
local SHORT = 4096

return function(host)
  local py, answer = host.py, host.answer
  local handles = require 'kumoaudit.handles' (host)

  local function fail(text, ...)
    local at = host.where()
    error((at ~= '' and at .. ': ' or '') .. format(text, ...), 0)
  end

  local function ask(regex, name, method, text, ...)
    local number = handles.number(regex)
    if not number then
      fail('regex:%s: call it as regex:%s(...), with a colon', name, name)
    elseif type(text) ~= 'string' then
      fail('regex:%s: expected a text, got %s', name, type(text))
    end
    if #text <= SHORT then
      return (answer(py.regex(host.where(), number, method, text, ...)))
    end
    return (host.host.work('regex', host.where(), number, method, text, ...))
  end

  local function replaced(regex, name, text, limit, replacement)
    if type(replacement) ~= 'string' then
      fail('regex:%s: expected a replacement as text, got %s', name, type(replacement))
    elseif type(limit) ~= 'number' or limit < 0 or limit ~= floor(limit) or limit > 2 ^ 53 then
      fail('regex:%s: the limit must be a whole number >= 0', name)
    end
    return (ask(regex, name, 'replacen', text, limit, replacement))
  end

  local Regex = {}
  Regex.__index = Regex

  function Regex.__tostring()
    return 'a regular expression'
  end

  function Regex.captures(regex, text)
    return (ask(regex, 'captures', 'captures', text))
  end

  function Regex.is_match(regex, text)
    return (ask(regex, 'is_match', 'is_match', text))
  end

  function Regex.find(regex, text)
    return (ask(regex, 'find', 'find', text))
  end

  function Regex.find_all(regex, text)
    return (ask(regex, 'find_all', 'find_all', text))
  end

  function Regex.split(regex, text)
    return (ask(regex, 'split', 'split', text))
  end

  function Regex.replace(regex, text, replacement)
    return (replaced(regex, 'replace', text, 1, replacement))
  end

  function Regex.replace_all(regex, text, replacement)
    return (replaced(regex, 'replace_all', text, 0, replacement))
  end

  function Regex.replacen(regex, text, limit, replacement)
    return (replaced(regex, 'replacen', text, limit, replacement))
  end

  host.put('kumo.regex.compile', function(pattern)
    local plain = type(pattern) == 'string' or type(pattern) == 'number' or type(pattern) == 'boolean'
    return handles.new(answer(py.regex_compile(host.where(), plain and pattern or nil)), Regex)
  end)
end
