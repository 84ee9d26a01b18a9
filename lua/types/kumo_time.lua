---@meta
-- `kumo.time`: points in time and spans, exact to the nanosecond, always in UTC.

kumo.time = {}

--- `time1 == time2`, `<`, `<=`; `time + delta`, `time - delta` are Times; `time1 - time2` is a TimeDelta.
--- `tostring(time)` is `1970-01-01 00:00:01 UTC`. As JSON it is its rfc3339 text.
---@class kumo.time.Time
---@field year integer
---@field month integer 1 to 12
---@field day integer 1 to 31
---@field hour integer 0 to 23
---@field minute integer 0 to 59
---@field second integer 0 to 59
---@field unix_timestamp integer whole seconds since 1970
---@field unix_timestamp_millis integer whole milliseconds since 1970
---@field rfc2822 string `Sun, 2 Jan 2000 03:04:05 +0000`
---@field rfc3339 string `2000-01-02T03:04:05+00:00`, with 3, 6 or 9 decimals when there are any
---@field elapsed kumo.time.TimeDelta from this time to now
---@operator add(kumo.time.TimeDelta): kumo.time.Time
---@operator sub(kumo.time.TimeDelta): kumo.time.Time
---@operator sub(kumo.time.Time): kumo.time.TimeDelta
local Time = {}

--- The time by a strftime format, with the specifiers of Rust's chrono (`%.3f` is the fraction with its dot).
---@param format string
---@return string
function Time:format(format) end

--- `==`, `<`, `<=`, `+`, `-` with each other. `tostring(delta)` is its `human` text; as JSON it is its seconds.
---@class kumo.time.TimeDelta
---@field seconds number with fraction, of either sign
---@field milliseconds integer towards zero; an int64_t (printed with LL) where a number would not be exact
---@field microseconds integer towards zero; likewise
---@field nanoseconds integer likewise: beyond 104 days it is an int64_t
---@field human string such as `1h 30m`; kumo.time.parse_duration reads it (without a sign)
---@operator add(kumo.time.TimeDelta): kumo.time.TimeDelta
---@operator sub(kumo.time.TimeDelta): kumo.time.TimeDelta
---@operator unm: kumo.time.TimeDelta

---@class kumo.time.Timer
local Timer = {}

--- Seconds since the timer was started, which are counted under its label; nil when it was called before.
---@return number?
function Timer:done() end

---@return kumo.time.Time
function kumo.time.now() end

---@param seconds number since 1970, fraction allowed
---@return kumo.time.Time
function kumo.time.from_unix_timestamp(seconds) end

---@param year integer
---@param month integer
---@param day integer
---@param hour integer
---@param minute integer
---@param second integer
---@return kumo.time.Time
function kumo.time.with_ymd_hms(year, month, day, hour, minute, second) end

---@param text string such as `2000-01-02T03:04:05Z`; up to nine decimals
---@return kumo.time.Time
function kumo.time.parse_rfc3339(text) end

---@param text string such as `Sun, 2 Jan 2000 03:04:05 +0000`
---@return kumo.time.Time
function kumo.time.parse_rfc2822(text) end

---@param duration kumo.Duration a number of seconds of either sign, or a text such as `5 minutes`
---@return kumo.time.TimeDelta
function kumo.time.parse_duration(duration) end

--- The same function as kumo.sleep.
---@param seconds number >= 0
function kumo.time.sleep(seconds) end

--- Measure how long something takes.
---@param label string the measurements of one label are counted together
---@return kumo.time.Timer
function kumo.time.start_timer(label) end
