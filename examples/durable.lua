-- What must survive the loss of power, and what may be dropped under load.

kumo.on('init', function()
  -- Each event is on the disk when audit.log returns. When the disk fails, audit.log raises an error.
  kumo.audit.configure_log {
    name = 'ledger',
    where = { type = 'custom_ledger' },
    durability = 'power',
    overflow = 'block',
    block_timeout = '5s',
    on_failure = 'refuse',
  }
  -- Under pressure the caller goes on: what is dropped is counted, and stands in the log as `audit_gap`.
  kumo.audit.configure_log {
    name = 'debug',
    where = 'severity = VERBOSE',
    overflow = 'drop',
    on_failure = 'continue',
  }

  local ok, problem = pcall(audit.log, { type = 'custom_ledger', user = 'alice', description = 'Moved 100.00 to bob' })
  if ok then
    print 'The transfer is on record; now make it.'
  else
    print('No record, no transfer: ' .. problem)
  end
  audit.verbose 'Cache refreshed'
end)
