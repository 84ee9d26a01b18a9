-- kumo.serde.*: the encoders (parsing is Python's, runtime/api/serde.py), and KumoMTA's older names of all of them.

local problem = require 'kumoaudit.plain'

local error, format = error, string.format

-- Under `kumo.` itself, as KumoMTA had them before `kumo.serde`.
local OLDER = { 'json_load', 'json_parse', 'json_encode', 'json_encode_pretty', 'toml_load', 'toml_parse', 'toml_encode',
  'toml_encode_pretty' }

return function(host)
  local py, answer, pack = host.py, host.answer, host.pack

  local function refuse(call, what)
    local at = host.where()
    error(format('%s%s: %s', at ~= '' and at .. ': ' or '', call, what), 0)
  end

  -- *native* takes (style, JSON text) and returns the text.
  local function encoder(name, native)
    local call = 'kumo.serde.' .. name
    host.put(call, function(v)
      local what = problem(v)
      if what then
        refuse(call, what)
      end
      local text, wrong = native(pack.value(v))
      if not text then
        refuse(call, wrong)
      end
      return text
    end)
  end

  encoder('json_encode', function(json) return json end)
  encoder('json_encode_pretty', function(json) return answer(py.serde_encode('json_pretty', json)) end)
  encoder('toml_encode', function(json) return answer(py.serde_encode('toml', json)) end)
  encoder('toml_encode_pretty', function(json) return answer(py.serde_encode('toml_pretty', json)) end)
  encoder('toml_encode_pretty_compact', function(json) return answer(py.serde_encode('toml_pretty_compact', json)) end)
  encoder('yaml_encode', function(json) return answer(py.serde_encode('yaml', json)) end)

  local serde = host.table_at 'kumo.serde'
  for i = 1, #OLDER do
    host.put('kumo.' .. OLDER[i], serde[OLDER[i]])
  end
end
