-- kumo.start_http_listener: keysources are resolved here, where an event may be one; the rest is Python's.

local type, pairs, ipairs, pcall, tostring, unpack = type, pairs, ipairs, pcall, tostring, unpack

local SOURCES = { 'tls_certificate', 'tls_private_key' }

return function(host)
  local py, answer, pack, where = host.py, host.answer, host.pack, host.where
  local resolve = require 'kumoaudit.keysource' (host)

  host.put('kumo.start_http_listener', function(options)
    local at = where()
    local plain, found, problems = options, {}, {}
    if type(options) == 'table' then
      plain = {}
      for name, value in pairs(options) do
        plain[name] = value
      end
      for _, name in ipairs(SOURCES) do
        if options[name] ~= nil then
          plain[name] = true
          -- What is wrong with a source is told with everything else that is wrong.
          local ok, value = pcall(resolve, 'kumo.start_http_listener: ' .. name, options[name])
          if ok then
            found[name] = value
          else
            problems[#problems + 1] = type(value) == 'string' and value or name .. ': ' .. tostring(value)
          end
        end
      end
    end
    local texts = pack.list(#problems, unpack(problems))
    answer(py.start_http_listener(at, pack.value(plain), found.tls_certificate, found.tls_private_key, texts))
  end)
end
