-- kumo.start_http_listener: keysources are resolved here, where an event may be one; the rest is Python's.

local type, pairs = type, pairs

return function(host)
  local py, answer, pack, where = host.py, host.answer, host.pack, host.where
  local resolve = require 'kumoaudit.keysource' (host)

  host.put('kumo.start_http_listener', function(options)
    local plain, certificate, key = options, nil, nil
    if type(options) == 'table' then
      plain = {}
      for name, value in pairs(options) do
        plain[name] = value
      end
      if options.tls_certificate ~= nil then
        certificate = resolve('kumo.start_http_listener: tls_certificate', options.tls_certificate)
        plain.tls_certificate = true
      end
      if options.tls_private_key ~= nil then
        key = resolve('kumo.start_http_listener: tls_private_key', options.tls_private_key)
        plain.tls_private_key = true
      end
    end
    answer(py.start_http_listener(where(), pack.value(plain), certificate, key))
  end)
end
