-- Ring.append, the Lua half: what Ring.append of pipeline/ring.py does, on the same header, under the same mutex.
-- The layout is in segments/spool.py. No loop here: an inner loop would abort the trace of the policy's own loop
-- (849 instead of 150 ns an event), so a full block is answered by a tail call.

local ffi = require 'ffi'
local bit = require 'bit'

ffi.cdef [[
int pthread_mutex_lock(void *mutex);
int pthread_mutex_unlock(void *mutex);
typedef struct {
  uint64_t magic, ring_id, block_bytes, blocks, current, freed, limit;
} kumoaudit_ring_header;
typedef struct {
  uint64_t block, used;
  int64_t time_min, time_max;
  uint64_t count, dropped, drop_min, drop_max;
} kumoaudit_ring_slot;
]]

local C = ffi.C
local band, copy, cast, tonumber, pcall = bit.band, ffi.copy, ffi.cast, tonumber, pcall

local HEADER_BYTES, SLOTS_AT = 4096, 1024

local ring = {}

--- A ring at *address* whose mutex is at *mutex*. *turn(bytes, time)* is Python's: makes room, or says that the line
--- is lost; returns ok, again or ok = false, message.
function ring.open(address, mutex, turn)
  local header = cast('kumoaudit_ring_header *', address)
  local blocks = tonumber(header.blocks)
  return {
    header = header,
    slots = cast('kumoaudit_ring_slot *', address + SLOTS_AT),
    base = cast('uint8_t *', address + HEADER_BYTES),
    mutex = cast('void *', mutex),
    blocks = blocks,
    -- Slot = number mod count; a power of two is the common case and saves a division an event.
    mask = band(blocks, blocks - 1) == 0 and blocks - 1 or nil,
    size = tonumber(header.block_bytes),
    turn = turn,
  }
end

local function put(r, line, n, time_ns)
  local current = tonumber(r.header.current)
  local k = r.mask and band(current, r.mask) or current % r.blocks
  local slot = r.slots[k]
  local at = tonumber(slot.used)
  if at + n > r.size or slot.count >= r.header.limit then
    return false
  end
  copy(r.base + (k * r.size + at), line, n)
  if time_ns < slot.time_min then
    slot.time_min = time_ns
  end
  if time_ns > slot.time_max then
    slot.time_max = time_ns
  end
  slot.count = slot.count + 1
  slot.used = at + n -- from here on the line survives the process
  return true
end

local full

--- Append a line of *n* bytes: true when it is acknowledged, false when it was dropped and counted; nil and a text
--- when the log refuses it (the caller goes on to the other logs first).
function ring.append(r, line, n, time_ns)
  C.pthread_mutex_lock(r.mutex)
  local ok, done = pcall(put, r, line, n, time_ns)
  C.pthread_mutex_unlock(r.mutex)
  if ok and done then
    return true
  end
  return full(r, line, n, time_ns, ok, done)
end

function full(r, line, n, time_ns, ok, done)
  if not ok then
    return nil, done
  end
  local asked, again = r.turn(n, tonumber(time_ns))
  if not asked then
    return nil, again
  end
  if not again then
    return false
  end
  return ring.append(r, line, n, time_ns)
end

return ring
