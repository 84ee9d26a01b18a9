-- kumo.secrets.*

return function(host)
  local resolve = require 'kumoaudit.keysource' (host)

  --- The bytes of a keysource.
  host.put('kumo.secrets.load', function(source)
    return resolve('kumo.secrets.load', source)
  end)
end
