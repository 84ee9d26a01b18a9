-- KumoMTA's accounting log: its function, its options, its file names.
-- While it is the only configured log, custom events stand in its segments too.

kumo.on('pre_init', function()
  kumo.aaa.configure_acct_log {
    log_dir = 'acct',
    -- A new segment after 2000 bytes of text (far too small for real use, but it shows the rotation) and every day.
    max_file_size = 2000,
    max_segment_duration = '1 day',
    compression_level = 3,
    log_authz_allow = false,
  }
end)

kumo.on('init', function()
  for n = 1, 30 do
    audit.log { type = 'custom_delivery', user = 'sender@example.com', description = 'Message ' .. n .. ' delivered' }
  end
end)
