-- kumo.memoize: functions that remember their results (KumoMTA section 6.1).
-- Results come back as they were, several as several. Tables are copied in and out: a caller that changes what it got
-- changes nobody else's. Errors are never kept: the next call tries again.

local lru = require 'kumoaudit.lru'

local type, tostring, error, pcall, select, next, unpack = type, tostring, error, pcall, select, next, unpack
local getmetatable, setmetatable, running = getmetatable, setmetatable, coroutine.running
local format, concat, sort, match, min = string.format, table.concat, table.sort, string.match, math.min

local ATTEMPTS = 3
local MAX_DEPTH = 100

-- Exact text of the arguments: different arguments, different texts (JSON would not tell bytes from their escapes).
local function key_of(v, out, open)
  local kind = type(v)
  if kind == 'string' then
    out[#out + 1] = format('s%d:%s', #v, v)
  elseif kind == 'number' then
    out[#out + 1] = format('n%.17g;', v)
  elseif kind == 'table' then
    local mt = getmetatable(v)
    if type(mt) == 'table' and mt.__pack then
      out[#out + 1] = 'p'
      return key_of(mt.__pack(v), out, open)
    elseif mt == 'kumo.null' then
      out[#out + 1] = '0'
      return
    elseif open[v] then
      return 'a table that holds itself'
    elseif open.depth >= MAX_DEPTH then
      return format('more than %d tables inside each other', MAX_DEPTH)
    end
    open[v], open.depth = true, open.depth + 1
    local items = {}
    for k, item in next, v do
      local text = {}
      local problem = key_of(k, text, open) or key_of(item, text, open)
      if problem then
        return problem
      end
      items[#items + 1] = concat(text)
    end
    open[v], open.depth = nil, open.depth - 1
    sort(items)
    out[#out + 1] = format('t%d:%s', #items, concat(items))
  elseif v == nil or kind == 'boolean' or (kind == 'cdata' and match(tostring(v), '^%-?%d+U?LL$')) then
    out[#out + 1] = tostring(v) .. ';'
  else
    return 'a ' .. (kind == 'cdata' and 'C data' or kind)
  end
end

return function(host)
  local py, answer, array_tag = host.py, host.answer, host.pack.array_tag

  -- Plain tables are copied, lists with their tag; an object stays itself: its methods decide what may change.
  local function copy(v, done)
    if type(v) ~= 'table' then
      return v
    end
    local mt = getmetatable(v)
    if mt ~= nil and mt ~= 'kumo.array' then
      return v
    elseif done[v] then
      return done[v]
    end
    local new = {}
    done[v] = new
    for k, item in next, v do
      new[k] = copy(item, done)
    end
    return mt and setmetatable(new, array_tag) or new
  end

  local function copies(n, values)
    local out, done = {}, {}
    for i = 1, n do
      out[i] = copy(values[i], done)
    end
    return out
  end

  local caches = {}

  local function fail(text, ...)
    local at = host.where()
    error((at ~= '' and at .. ': ' or '') .. format(text, ...), 0)
  end

  local function now()
    return answer(py.monotonic())
  end

  local function key_for(cache, n, ...)
    local out = {}
    for i = 1, n do
      local problem = key_of((select(i, ...)), out, { depth = 0 })
      if problem then
        fail("kumo.memoize: cache '%s': argument %d holds %s; arguments must be plain data, as they are the key",
          cache.name, i, problem)
      end
    end
    return concat(out)
  end

  -- The entry of *key* that may still be given out: fresh, or only expired (the second result).
  local function find(cache, key)
    local e = cache.entries:get(key)
    if not e then
      return nil
    elseif cache.with_epoch and e.epoch ~= answer(py.epoch()) then
      cache.entries:remove(key)
      return nil
    elseif now() < e.expires then
      return e
    end
    return nil, e
  end

  local function results(ok, ...)
    return ok, select('#', ...), { ... }
  end

  -- Call the function for *key*, keep what it returns, return it.
  local function populate(cache, key, fn, ...)
    local mark = { owner = running() }
    cache.populating[key] = mark
    local epoch = cache.with_epoch and answer(py.epoch())
    local ok, count, values = results(pcall(fn, ...))
    if cache.populating[key] == mark then
      cache.populating[key] = nil
    end
    if not ok then
      error(values[1], 0)
    end
    cache.entries:put(key, { n = count, values = copies(count, values), expires = now() + cache.ttl, epoch = epoch })
    return unpack(values, 1, count)
  end

  -- Wait until nobody makes the value of *key*. False when that took too long.
  -- A task that sleeps is only noticed when it is stepped again, so this looks at growing intervals of 1 to 20 ms.
  local function wait(cache, key, mark)
    local pause, deadline = 0.001, now() + cache.patience
    while cache.populating[key] == mark do
      if now() >= deadline then
        cache.populating[key] = nil -- its task may never come back; the next caller begins anew
        return false
      end
      host.host.sleep(min(pause, cache.timeout))
      pause = min(pause * 1.5, 0.02)
    end
    return true
  end

  local function call(name, fn, ...)
    local cache = caches[name]
    if cache.ttl == 0 then
      return fn(...)
    end
    local n = select('#', ...)
    local key = key_for(cache, n, ...)
    while true do
      local e, expired = find(cache, key)
      if e then
        return unpack(copies(e.n, e.values), 1, e.n)
      end
      local mark = cache.populating[key]
      if not mark then
        return populate(cache, key, fn, ...)
      elseif expired and cache.stale then
        return unpack(copies(expired.n, expired.values), 1, expired.n)
      elseif mark.owner == running() then
        fail("kumo.memoize: cache '%s': the function asks for the very result that it is making", name)
      elseif not host.host.can_wait() then
        return fn(...) -- in a coroutine of the policy's own: waiting would stop the one that is waited for
      elseif not wait(cache, key, mark) then
        fail("kumo.memoize: cache '%s': another task did not finish making the value within %g s (populate_timeout)",
          name, cache.patience)
      end
    end
  end

  host.put('kumo.memoize', function(fn, options)
    local name, ttl, capacity, with_epoch, timeout, retries, stale =
      answer(py.memoize_options(host.where(), type(fn), host.pack.value(options)))
    local cache = caches[name]
    if not (cache and cache.ttl == ttl and cache.declared == capacity and cache.with_epoch == with_epoch
      and cache.timeout == timeout and cache.retries == retries and cache.stale == stale) then
      caches[name] = {
        name = name, ttl = ttl, declared = capacity, with_epoch = with_epoch, timeout = timeout, retries = retries,
        patience = timeout * (retries and ATTEMPTS or 1), stale = stale, entries = lru.new(capacity), populating = {},
      }
    end
    return function(...)
      return call(name, fn, ...)
    end
  end)

  --- Change the size of a cache: one of kumo.memoize, or one of the host's own.
  host.put('kumo.set_lruttl_cache_capacity', function(...)
    local name, capacity, is_done = answer(py.cache_resize(host.where(), host.pack.list(select('#', ...), ...)))
    if is_done then
      return
    end
    local cache = caches[name]
    if not cache then
      fail('kumo.set_lruttl_cache_capacity: could not set capacity for cache %s: there is no cache of that name', name)
    end
    cache.entries:resize(capacity)
  end)
end
