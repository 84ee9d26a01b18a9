-- kumo.jsonl.*: tailers, batches and writers as objects. Filters run here, so records are handed over as tables.

local type, error, pcall, format, setmetatable, pairs = type, error, pcall, string.format, setmetatable, pairs
local huge, min, rawget = math.huge, math.min, rawget
local problem = require 'kumoaudit.plain'

return function(host)
  local py, answer, pack, work = host.py, host.answer, host.pack, host.host.work
  local handles = require 'kumoaudit.handles' (host)
  -- Under this key an object keeps its state: in a weak table a filter that knows its tailer would keep it alive.
  local STATE = {}

  local function fail(text, ...)
    local at = host.where()
    error((at ~= '' and at .. ': ' or '') .. format(text, ...), 0)
  end

  local function own(object, call)
    local s = type(object) == 'table' and rawget(object, STATE)
    if not s then
      fail('%s: call it as %s(...), with a colon', call, call)
    end
    return s
  end

  -- Batches -----------------------------------------------------------------------------------------------------

  local Batch = {}
  Batch.__index = Batch

  function Batch.__tostring()
    return 'a batch of records'
  end

  --- The records as a list; none after the commit.
  function Batch.records(batch)
    local s = own(batch, 'batch:records')
    local out = {}
    for i = 1, s.committed and 0 or #s.records do
      out[i] = s.records[i]
    end
    return out
  end

  --- An iterator over the records.
  function Batch.iter_records(batch)
    local s, i = own(batch, 'batch:iter_records'), 0
    return function()
      i = i + 1
      if not s.committed then
        return s.records[i]
      end
    end
  end

  function Batch.consumer_name(batch)
    local s = own(batch, 'batch:consumer_name')
    return s.committed and '' or s.name
  end

  --- Advance the checkpoint to the end of this batch.
  function Batch.commit(batch)
    local s = own(batch, 'batch:commit')
    if s.committed then
      fail('batch:commit: batch has already been committed')
    end
    if s.checkpoint ~= '' then
      work('jsonl_commit', host.where(), handles.number(s.tailer), s.checkpoint, s.file, s.line)
    end
    s.committed = true
  end

  -- Tailers -----------------------------------------------------------------------------------------------------

  local function begin(consumer)
    consumer.records, consumer.left = {}, consumer.latency
  end

  -- A batch of what a consumer has; its next one begins.
  local function cut(tailer, consumer)
    local s = {
      tailer = tailer, name = consumer.name, records = consumer.records, checkpoint = consumer.checkpoint,
      file = consumer.file, line = consumer.line,
    }
    begin(consumer)
    return setmetatable({ [STATE] = s }, Batch)
  end

  -- Give the records that were read to the consumers. A filter that raises finds the same record again next time.
  local function distribute(s)
    local chunk = s.chunk
    while chunk.i <= #chunk.records do
      local record, file, line = chunk.records[chunk.i], chunk.files[chunk.i], chunk.lines[chunk.i]
      while chunk.consumer <= #s.consumers do
        local c = s.consumers[chunk.consumer]
        if file > c.file or (file == c.file and line > c.line) then
          if not c.filter or c.filter(record) then
            c.records[#c.records + 1] = record
          end
          c.file, c.line = file, line
        end
        chunk.consumer = chunk.consumer + 1
      end
      chunk.i, chunk.consumer = chunk.i + 1, 1
    end
    s.chunk = nil
  end

  local function ready(tailer, s)
    local out
    for i = 1, #s.consumers do
      local c = s.consumers[i]
      if #c.records >= c.size or (#c.records > 0 and c.left <= 0) then
        out = out or {}
        out[#out + 1] = cut(tailer, c)
      end
    end
    return out
  end

  -- Read what no consumer would be overfull with; wait at most until the first unfinished batch is due.
  local function fetch(tailer, s)
    local room, wait = huge, huge
    for i = 1, #s.consumers do
      local c = s.consumers[i]
      room = min(room, c.size - #c.records)
      if #c.records > 0 then
        wait = min(wait, c.left)
      end
    end
    local records, files, lines, waited = work('jsonl_read', host.where(), handles.number(tailer), room,
      wait == huge and -1 or wait)
    if not records then
      return false
    end
    for i = 1, #s.consumers do
      local c = s.consumers[i]
      if #c.records > 0 then
        c.left = c.left - waited
      end
    end
    s.chunk = { records = records, files = files, lines = lines, i = 1, consumer = 1 }
    return true
  end

  local Tailer = {}
  Tailer.__index = Tailer

  function Tailer.__tostring()
    return 'a tailer'
  end

  --- An iterator over batches (with several consumers over lists of them); ends when the tailer is closed.
  function Tailer.batches(tailer)
    local s = own(tailer, 'tailer:batches')
    local function next_batch()
      while not s.closed do
        if s.chunk then
          distribute(s)
        end
        local batches = ready(tailer, s)
        if batches then
          return s.is_multi and batches or batches[1]
        end
        if not fetch(tailer, s) then
          return nil
        end
      end
    end
    return function()
      -- A filter may rest: two readers at once would lose what one of them holds.
      if s.is_read then
        fail('tailer:batches: another loop is waiting for a batch of this tailer')
      end
      s.is_read = true
      local ok, batch = pcall(next_batch)
      s.is_read = false
      if not ok then
        error(batch, 0)
      end
      return batch
    end
  end

  --- Stop; no checkpoint is written.
  function Tailer.close(tailer)
    own(tailer, 'tailer:close').closed = true
    answer(py.jsonl_close(handles.number(tailer)))
  end

  local function filter_of(call, value)
    if value ~= nil and type(value) ~= 'function' then
      fail('%s: the filter must be a function, got a %s', call, type(value))
    end
    return value
  end

  local function new(made, is_multi, filters)
    local tailer = handles.new(made.number, Tailer)
    for i = 1, #made.consumers do
      made.consumers[i].filter = filters[i]
      begin(made.consumers[i])
    end
    tailer[STATE] = { consumers = made.consumers, is_multi = is_multi }
    return tailer
  end

  host.put('kumo.jsonl.new_tailer', function(options, filter)
    local filters = { filter_of('kumo.jsonl.new_tailer', filter) }
    return new(answer(py.jsonl_tailer(host.where(), pack.value(options))), false, filters)
  end)

  host.put('kumo.jsonl.new_multi_tailer', function(options)
    local filters = {}
    local consumers = type(options) == 'table' and options.consumers
    for i, consumer in pairs(type(consumers) == 'table' and consumers or {}) do
      filters[i] = type(consumer) == 'table' and filter_of('kumo.jsonl.new_multi_tailer', consumer.filter) or nil
    end
    return new(answer(py.jsonl_multi_tailer(host.where(), pack.value(options))), true, filters)
  end)

  -- Writers -----------------------------------------------------------------------------------------------------

  local Writer = {}
  Writer.__index = Writer

  function Writer.__tostring()
    return 'a writer'
  end

  local function number_of(writer, call)
    return handles.number(writer) or fail('%s: call it as %s(...), with a colon', call, call)
  end

  --- One record as JSON text.
  function Writer.write_line(writer, line)
    local number = number_of(writer, 'writer:write_line')
    if type(line) ~= 'string' then
      fail('writer:write_line: expected a line as text, got %s', line == nil and 'nil' or 'a ' .. type(line))
    end
    work('jsonl_write', host.where(), number, 'write_line', line)
  end

  --- One record as a value.
  function Writer.write_record(writer, record)
    local number = number_of(writer, 'writer:write_record')
    local what = problem(record)
    if what then
      fail('writer:write_record: %s', what)
    end
    work('jsonl_write', host.where(), number, 'write_record', pack.value(record))
  end

  --- Finish the segment.
  function Writer.close(writer)
    work('jsonl_close_writer', host.where(), number_of(writer, 'writer:close'))
  end

  host.put('kumo.jsonl.new_writer', function(options)
    return handles.new(answer(py.jsonl_writer(host.where(), pack.value(options))), Writer)
  end)
end
