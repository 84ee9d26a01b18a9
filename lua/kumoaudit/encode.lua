-- What the generated encoders are made of: JSON text, ids and times written into a buffer by FFI.
-- No Lua string and no Python object per event. The contract is PythonEncoder: same event, same bytes (property test).

local ffi = require 'ffi'
local bit = require 'bit'

local band, bor, bxor, bnot, rshift = bit.band, bit.bor, bit.bxor, bit.bnot, bit.rshift
local copy, cast = ffi.copy, ffi.cast
local format, date, tonumber, error = string.format, os.date, tonumber, error

ffi.cdef [[
typedef struct { long sec; long nsec; } kumoaudit_timespec;
int clock_gettime(int clock, kumoaudit_timespec *ts);
long getrandom(void *buf, size_t size, unsigned flags);
]]
local C = ffi.C

local u8p, u16p, u64p = ffi.typeof 'uint8_t *', ffi.typeof 'uint16_t *', ffi.typeof 'uint64_t *'
local charp = ffi.typeof 'const char *'

local encode = {}

-- A line of 1 MiB at most, and room for the padding that `put` writes behind a text.
encode.BUFFER = 1048576
local buffer = ffi.new('uint8_t[?]', encode.BUFFER + 4096)
encode.buffer = buffer

-- Hexadecimal pairs of all bytes, as they lie in memory.
local hex = ffi.new 'uint16_t[256]'
for i = 0, 255 do
  local s = format('%02x', i)
  hex[i] = s:byte(1) + s:byte(2) * 256
end

-- What a byte needs: 0 as it is, 1 \u00XX, 2 begins (or breaks) a multi-byte character, else the letter of its escape.
local escape = ffi.new 'uint8_t[256]'
for i = 0, 31 do
  escape[i] = 1
end
for i = 128, 255 do
  escape[i] = 2
end
for c, letter in next, { ['"'] = '"', ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't' } do
  escape[c:byte()] = letter:byte()
end

-- Length of the valid UTF-8 character at p[i] of n bytes, or 0.
local function character(p, i, n)
  local c = p[i]
  if c >= 0xc2 and c <= 0xdf then
    if i + 1 < n and band(p[i + 1], 0xc0) == 0x80 then
      return 2
    end
  elseif c >= 0xe0 and c <= 0xef then
    if i + 2 < n and band(p[i + 1], 0xc0) == 0x80 and band(p[i + 2], 0xc0) == 0x80
      and not (c == 0xe0 and p[i + 1] < 0xa0) and not (c == 0xed and p[i + 1] > 0x9f) then
      return 3
    end
  elseif c >= 0xf0 and c <= 0xf4 then
    if i + 3 < n and band(p[i + 1], 0xc0) == 0x80 and band(p[i + 2], 0xc0) == 0x80 and band(p[i + 3], 0xc0) == 0x80
      and not (c == 0xf0 and p[i + 1] < 0x90) and not (c == 0xf4 and p[i + 1] > 0x8f) then
      return 4
    end
  end
  return 0
end

-- Byte by byte, for texts with something to escape.
local function put_escaped(b, s, n, at)
  local p = cast(u8p, cast(charp, s))
  local i = 0
  while i < n do
    local c = p[i]
    local e = escape[c]
    if e == 0 then
      b[at] = c
      at = at + 1
      i = i + 1
    elseif e == 2 then
      local k = character(p, i, n)
      if k == 0 then
        -- A byte that is no character is shown as \xHH; in JSON its backslash is escaped.
        copy(b + at, '\\\\x', 3)
        cast(u16p, b + at + 3)[0] = hex[c]
        at = at + 5
        i = i + 1
      else
        for j = 0, k - 1 do
          b[at + j] = p[i + j]
        end
        at = at + k
        i = i + k
      end
    elseif e == 1 then
      copy(b + at, '\\u00', 4)
      cast(u16p, b + at + 4)[0] = hex[c]
      at = at + 6
      i = i + 1
    else
      b[at] = 92
      b[at + 1] = e
      at = at + 2
      i = i + 1
    end
  end
  return at
end

local SPACES = 0x2020202020202020ULL
local ONES, HIGH = 0x0101010101010101ULL, 0x8080808080808080ULL
local QUOTES, BACKSLASHES = 0x2222222222222222ULL, 0x5c5c5c5c5c5c5c5cULL

-- Whether 32 bytes hold a control, a quote, a backslash or a high bit; no branch between the words.
local function unclean32(w, i)
  local x, y, z, v = w[i], w[i + 1], w[i + 2], w[i + 3]
  local xq, yq, zq, vq = bxor(x, QUOTES), bxor(y, QUOTES), bxor(z, QUOTES), bxor(v, QUOTES)
  local xb, yb, zb, vb = bxor(x, BACKSLASHES), bxor(y, BACKSLASHES), bxor(z, BACKSLASHES), bxor(v, BACKSLASHES)
  return band(bor(x, y, z, v,
    band(x - SPACES, bnot(x)), band(y - SPACES, bnot(y)), band(z - SPACES, bnot(z)), band(v - SPACES, bnot(v)),
    band(xq - ONES, bnot(xq)), band(yq - ONES, bnot(yq)), band(zq - ONES, bnot(zq)), band(vq - ONES, bnot(vq)),
    band(xb - ONES, bnot(xb)), band(yb - ONES, bnot(yb)), band(zb - ONES, bnot(zb)), band(vb - ONES, bnot(vb))), HIGH) ~= 0
end

local function unclean8(x)
  local q, b = bxor(x, QUOTES), bxor(x, BACKSLASHES)
  return bor(x, band(x - SPACES, bnot(x)), band(q - ONES, bnot(q)), band(b - ONES, bnot(b)))
end

-- Texts of more than 160 bytes: a loop, which LuaJIT compiles by itself.
local function put_long(b, s, n, at)
  local w = cast(u64p, b + at)
  for i = 0, rshift(n - 1, 3), 4 do
    if unclean32(w, i) then
      return put_escaped(b, s, n, at)
    end
  end
  return at + n
end

--- Write text *s* JSON-escaped at offset *at* of buffer *b* (which has 6 * #s + 32 bytes left); the offset behind it.
--- Copies first, pads with spaces, looks at the copy 32 bytes at a time: most texts need nothing. Written out instead of
--- looped, because a loop in here would break the trace of the loop that logs.
local function put(b, s, at)
  local n = #s
  local p = b + at
  copy(p, s, n)
  local tail = cast(u64p, p + n)
  tail[0], tail[1] = SPACES, SPACES
  local w = cast(u64p, p)
  if n <= 16 then
    if band(bor(unclean8(w[0]), unclean8(w[1])), HIGH) ~= 0 then
      return put_escaped(b, s, n, at)
    end
    return at + n
  end
  tail[2], tail[3] = SPACES, SPACES
  if unclean32(w, 0) then return put_escaped(b, s, n, at) end
  if n <= 32 then return at + n end
  if unclean32(w, 4) then return put_escaped(b, s, n, at) end
  if n <= 64 then return at + n end
  if unclean32(w, 8) then return put_escaped(b, s, n, at) end
  if n <= 96 then return at + n end
  if unclean32(w, 12) then return put_escaped(b, s, n, at) end
  if n <= 128 then return at + n end
  if unclean32(w, 16) then return put_escaped(b, s, n, at) end
  if n <= 160 then return at + n end
  return put_long(b, s, n, at)
end
encode.put = put

-- Texts of few different values (type, module, tag ...) are kept quoted: Lua strings are interned, so a table finds them.
local quoted, quoted_count = {}, 0
local scratch = ffi.new('uint8_t[?]', 8192)

local function quote(s)
  if #s > 256 then
    return nil
  end
  local q = '"' .. ffi.string(scratch, put(scratch, s, 0)) .. '"'
  if quoted_count >= 4096 then
    quoted, quoted_count = {}, 0
  end
  quoted[s] = q
  quoted_count = quoted_count + 1
  return q
end

--- Write text *s* with its quotes.
function encode.value(b, s, at)
  local q = quoted[s] or quote(s)
  if q == nil then
    b[at] = 34
    at = put(b, s, at + 1)
    b[at] = 34
    return at + 1
  end
  copy(b + at, q, #q)
  return at + #q
end

--- Write a literal.
function encode.literal(b, s, at)
  copy(b + at, s, #s)
  return at + #s
end

--- Text *s* as the inside of a JSON text, as a Lua string (for parts that are written once).
function encode.escaped(s)
  local b = ffi.new('uint8_t[?]', 6 * #s + 64)
  return ffi.string(b, put(b, s, 0))
end

-- Random bits from the kernel, 32 KiB at a time; used words are wiped.
local WORDS = 8192
local words, next_word = ffi.new('uint32_t[?]', WORDS), WORDS

local function refill()
  local got = 0
  while got < WORDS * 4 do
    local n = tonumber(C.getrandom(cast(u8p, words) + got, WORDS * 4 - got, 0))
    if n <= 0 then
      error('the kernel gives no random numbers', 0)
    end
    got = got + n
  end
  next_word = 0
end

local function random()
  if next_word == WORDS then
    refill()
  end
  local v = words[next_word]
  words[next_word] = 0
  next_word = next_word + 1
  return bit.tobit(v)
end

-- The id of the event in hand: 36 characters.
local id = ffi.new 'uint8_t[48]'
encode.id = id
id[8], id[13], id[18], id[23] = 45, 45, 45, 45

--- A random UUID of version 4 into `encode.id`.
function encode.new_id()
  local a, b, c, d = random(), random(), random(), random()
  b = bor(band(b, 0xff0fffff), 0x00400000)
  c = bor(band(c, 0xffffff3f), 0x00000080)
  local u = cast(u16p, id)
  u[0], u[1], u[2], u[3] = hex[band(a, 255)], hex[band(rshift(a, 8), 255)], hex[band(rshift(a, 16), 255)], hex[rshift(a, 24)]
  u = cast(u16p, id + 9)
  u[0], u[1] = hex[band(b, 255)], hex[band(rshift(b, 8), 255)]
  u = cast(u16p, id + 14)
  u[0], u[1] = hex[band(rshift(b, 16), 255)], hex[rshift(b, 24)]
  u = cast(u16p, id + 19)
  u[0], u[1] = hex[band(c, 255)], hex[band(rshift(c, 8), 255)]
  u = cast(u16p, id + 24)
  u[0], u[1] = hex[band(rshift(c, 16), 255)], hex[rshift(c, 24)]
  u[2], u[3], u[4], u[5] = hex[band(d, 255)], hex[band(rshift(d, 8), 255)], hex[band(rshift(d, 16), 255)], hex[rshift(d, 24)]
end

local timespec = ffi.new 'kumoaudit_timespec'

--- Wall time: seconds since 1970 and milliseconds, the resolution of events that are born in Lua.
function encode.now()
  C.clock_gettime(0, timespec)
  local nsec = tonumber(timespec.nsec)
  return tonumber(timespec.sec), (nsec - nsec % 1000000) / 1000000
end

-- Of its own: a hook that asks for the time may run between the two lines of `now`.
local monotonic_spec = ffi.new 'kumoaudit_timespec'

--- Seconds of a clock that nobody sets.
function encode.monotonic()
  C.clock_gettime(1, monotonic_spec)
  return tonumber(monotonic_spec.sec) + tonumber(monotonic_spec.nsec) / 1e9
end

--- The host's clock instead of the machine's: *now()* is guarded (true, seconds, milliseconds; or false, a text).
function encode.set_clock(now)
  function encode.now()
    local ok, sec, ms = now()
    if not ok then
      error(sec, 0)
    end
    return sec, ms
  end
end

local utc_second, utc_text, local_second, local_text, zone = -1, '', -1, '', ''

--- `2026-11-20T08:41:02.123Z`
function encode.utc(sec, ms)
  if sec ~= utc_second then
    utc_second, utc_text = sec, date('!%Y-%m-%dT%H:%M:%S', sec)
  end
  return format('%s.%03dZ', utc_text, ms)
end

--- `2026-11-20T11:41:02.123+0300`
function encode.local_time(sec, ms)
  if sec ~= local_second then
    local_second, local_text, zone = sec, date('%Y-%m-%dT%H:%M:%S', sec), date('%z', sec)
  end
  return format('%s.%03d%s', local_text, ms, zone)
end

return encode
