-- kumo.secrets.*

return function(host)
  local resolve = require 'kumoaudit.keysource' (host)

  --- The bytes of a keysource.
  host.put('kumo.secrets.load', function(source)
    return resolve('kumo.secrets.load', source)
  end)

  --- An argon2id hash of a password, as a PHC text.
  host.put('kumo.secrets.hash_password', function(password, options)
    local text = type(password) == 'string'
    return (host.host.work('hash_password', host.where(), type(password), text and password or '',
      host.pack.value(options == nil and {} or options)))
  end)

  --- Whether a password fits its hash.
  host.put('kumo.secrets.check_password', function(password, hash)
    local text = type(password) == 'string'
    return (host.host.work('check_password', host.where(), type(password), text and password or '',
      hash and type(hash) or 'nil', type(hash) == 'string' and hash or ''))
  end)
end
