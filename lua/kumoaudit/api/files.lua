-- kumo.fs.open: files as objects around a number; kumo.fs.metadata_for_path: with Time objects.

local type, error, format = type, error, string.format

return function(host)
  local py, answer = host.py, host.answer
  local handles = require 'kumoaudit.handles' (host)

  -- Only what crosses to Python as it is.
  local function plain(v)
    local kind = type(v)
    if kind == 'string' or kind == 'number' or kind == 'boolean' then
      return v
    end
    if v == nil then
      return nil
    end
    return false
  end

  local function fail(text, ...)
    local at = host.where()
    error((at ~= '' and at .. ': ' or '') .. format(text, ...), 0)
  end

  local function use(file, method, ...)
    local number = handles.number(file)
    if not number then
      fail('file:%s: call it as file:%s(...), with a colon', method, method)
    end
    return (host.host.work('file_use', host.where(), number, method, ...))
  end

  local File = {}
  File.__index = File

  function File.__tostring()
    return 'a file'
  end

  function File.read(file, size)
    return (use(file, 'read', plain(size)))
  end

  function File.write(file, data)
    if type(data) ~= 'string' then
      fail('file:write: expected a text, got %s', data == nil and 'nil' or 'a ' .. type(data))
    end
    use(file, 'write', data)
  end

  function File.seek(file, whence, position)
    return (use(file, 'seek', whence ~= nil and (type(whence) == 'string' and whence or '?') or nil, plain(position)))
  end

  function File.flush(file)
    use(file, 'flush')
  end

  function File.close(file)
    use(file, 'close')
  end

  host.put('kumo.fs.open', function(path, mode)
    local number = host.host.work('file_open', host.where(), plain(path), mode == nil and 'r' or plain(mode))
    return handles.new(answer(py.file_opened(number)), File)
  end)

  local time_of = host.table_at('kumo.time').from_unix_timestamp
  for _, name in ipairs { 'metadata_for_path', 'symlink_metadata_for_path' } do
    host.put('kumo.fs.' .. name, function(path)
      local found = answer(py.file_metadata(host.where(), name, plain(path)))
      found.mtime, found.atime, found.ctime = time_of(found.mtime), time_of(found.atime), time_of(found.ctime)
      return found
    end)
  end
end
