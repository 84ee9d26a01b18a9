-- A cache of bounded size that forgets what was not asked for longest. Times are the caller's business.

local lru = {}
lru.__index = lru

--- *capacity*: entries, 1 or more.
function lru.new(capacity)
  local self = setmetatable({ by_key = {}, size = 0, capacity = capacity }, lru)
  -- The two ends of a ring of entries: `head.next` was used last, `head.prev` longest ago.
  self.head = {}
  self.head.next, self.head.prev = self.head, self.head
  return self
end

local function unlink(e)
  e.prev.next, e.next.prev = e.next, e.prev
end

local function put_first(self, e)
  e.next, e.prev = self.head.next, self.head
  e.next.prev, self.head.next = e, e
end

--- The entry of *key*, which counts as used now, or nil.
function lru:get(key)
  local e = self.by_key[key]
  if e then
    unlink(e)
    put_first(self, e)
  end
  return e
end

function lru:remove(key)
  local e = self.by_key[key]
  if e then
    unlink(e)
    self.by_key[key] = nil
    self.size = self.size - 1
  end
end

local function shrink(self)
  while self.size > self.capacity do
    self:remove(self.head.prev.key)
  end
end

--- Put the table *e* under *key*; the cache uses its fields `key`, `next` and `prev`.
function lru:put(key, e)
  self:remove(key)
  e.key = key
  self.by_key[key] = e
  self.size = self.size + 1
  put_first(self, e)
  shrink(self)
end

--- Change the capacity; what is too much is forgotten at once.
function lru:resize(capacity)
  self.capacity = capacity
  shrink(self)
end

return lru
