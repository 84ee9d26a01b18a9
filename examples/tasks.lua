-- Tasks: handlers that run beside everything else. The host ends when the last one has ended.

kumo.on('watch', function(name, rounds)
  local log = audit.new { type = 'custom_watch', module = name }
  for round = 1, rounds do
    log:log('Round %d of %d', round, rounds)
    kumo.sleep(0.05) -- gives the others a turn
  end
end)

kumo.on('init', function()
  audit.info 'The watch begins'
  kumo.spawn_task { event_name = 'watch', args = { 'disks', 3 } }
  kumo.spawn_task { event_name = 'watch', args = { 'doors', 2 } }
end)

kumo.on('shutdown', function()
  audit.info 'The watch is over'
end)
