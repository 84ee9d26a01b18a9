-- Alarms in a log of their own, and everything as Tarantool's JSON lines beside it.
-- An event goes into every log whose filter takes it.

kumo.on('init', function()
  kumo.audit.configure_log {
    name = 'alarms',
    where = 'severity >= ALARM or outcome in (fail, deny)',
    path = 'audit/alarms',
    max_segment_duration = '1 day',
  }
  kumo.audit.configure_log {
    name = 'siem',
    where = { kind = { 'custom', 'authn' } },
    path = 'audit/siem',
    format = 'tarantool_json',
  }

  audit.info { type = 'custom_order', user = 'alice', description = 'Order 17 placed' }
  audit.alarm { type = 'custom_stock', module = 'stock', description = 'Item 4711 sold out' }
  audit.event('auth_fail', { user = 'mallory' })
end)
