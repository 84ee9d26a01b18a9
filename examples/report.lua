-- A script: `kumoaudit run --script examples/report.lua -- SERVICE HOST...` records who was on call for which hosts.
-- It runs `pre_init` and `main` with the arguments behind `--`, then ends; an error ends it with exit code 1.

kumo.on('main', function(service, ...)
  if not service then
    error 'usage: report.lua SERVICE HOST...'
  end
  local report = audit.new { type = 'custom_report', module = service }
  for _, host in ipairs { ... } do
    local id = report:info { tag = host, description = 'Checked ' .. host }
    print(host, id and 'recorded' or 'filtered out')
  end
end)
