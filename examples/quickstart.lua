-- The first audit log: run it with `kumoaudit run examples/quickstart.lua`, then ask with `kumoaudit query`.

-- Events of one part of an application share their type and module.
local billing = audit.new { type = 'custom_billing', module = 'billing' }

kumo.on('init', function()
  -- Something happened, in words.
  audit.log 'The policy was loaded'

  -- A login that was refused: who, from where, why.
  audit.alarm {
    type = 'custom_login',
    user = 'mallory',
    remote = '203.0.113.7:52114',
    description = 'Login failed for mallory: wrong password',
  }

  -- Events of the application, with the fields of their logger filled in.
  billing:log { user = 'alice', tag = 'invoice-1042', description = 'Invoice 1042 paid' }
  billing:warning('Invoice %d is %d days late', 1043, 12)
end)
