---@meta
-- `kumo.string`, `kumo.regex`, `kumo.uuid`. Texts are UTF-8; bytes that are none are kept.

kumo.string = {}
kumo.regex = {}
kumo.uuid = {}

--- The parts between occurrences of *pattern* (a plain text).
---@param text string
---@param pattern string
---@return string[]
function kumo.string.split(text, pattern) end

--- The same from the end, the last part first.
---@param text string
---@param pattern string
---@return string[]
function kumo.string.rsplit(text, pattern) end

--- At most *limit* parts; the last one is the rest.
---@param text string
---@param limit integer
---@param pattern string
---@return string[]
function kumo.string.splitn(text, limit, pattern) end

--- The same from the end, the last part first.
---@param text string
---@param limit integer
---@param pattern string
---@return string[]
function kumo.string.rsplitn(text, limit, pattern) end

--- The words between white space of any kind.
---@param text string
---@return string[]
function kumo.string.split_whitespace(text) end

--- The words between spaces, tabs, line and page breaks.
---@param text string
---@return string[]
function kumo.string.split_ascii_whitespace(text) end

--- Every *old* becomes *new*.
---@param text string
---@param old string
---@param new string
---@return string
function kumo.string.replace(text, old, new) end

--- The first *count* become *new*.
---@param text string
---@param old string
---@param new string
---@param count integer
---@return string
function kumo.string.replacen(text, old, new, count) end

---@param text string
---@param start string
---@return boolean
function kumo.string.starts_with(text, start) end

---@param text string
---@param ending string
---@return boolean
function kumo.string.ends_with(text, ending) end

--- Without white space at both ends.
---@param text string
---@return string
function kumo.string.trim(text) end

--- Without white space at the start.
---@param text string
---@return string
function kumo.string.trim_start(text) end

--- Without white space at the end.
---@param text string
---@return string
function kumo.string.trim_end(text) end

--- Lines of at most *soft* characters where there is white space to break at, never more than *hard*; breaks are CR LF TAB.
---@param text string
---@param soft? integer default 75
---@param hard? integer default 900
---@return string
function kumo.string.wrap(text, soft, hard) end

--- Compile a pattern in the syntax of Rust's `regex` with look-around and back references. A search of up to 4 KiB may take
--- 0.1 s; longer texts (up to 16 MiB) are searched for at most 1 s, other handlers go on meanwhile. More is an error.
---@param pattern string
---@return kumo.regex.Regex
function kumo.regex.compile(pattern) end

--- *text* as a pattern that matches just it.
---@param text string
---@return string
function kumo.regex.escape(text) end

---@class kumo.regex.Regex
local Regex = {}

--- The groups of the first match by number (0 is all of it) and name, or nil.
---@param text string
---@return table<integer|string,string>?
function Regex:captures(text) end

---@param text string
---@return boolean
function Regex:is_match(text) end

--- The first match, or nil.
---@param text string
---@return string?
function Regex:find(text) end

--- Every match.
---@param text string
---@return string[]
function Regex:find_all(text) end

--- The first match becomes *replacement*, in which `$1`, `$name` and `${name}` are groups and `$$` is `$`.
---@param text string
---@param replacement string
---@return string
function Regex:replace(text, replacement) end

--- The same for every match.
---@param text string
---@param replacement string
---@return string
function Regex:replace_all(text, replacement) end

--- The same for the first *limit* matches; 0 is all of them.
---@param text string
---@param limit integer
---@param replacement string
---@return string
function Regex:replacen(text, limit, replacement) end

--- What lies between the matches.
---@param text string
---@return string[]
function Regex:split(text) end

--- `tostring(uuid)` is its hyphenated form; equal UUIDs are equal.
---@class kumo.uuid.Uuid
---@field hyphenated string `69994630-3e27-11ef-91fc-cc28aa0a5c5a`
---@field simple string without hyphens
---@field braced string `{...}`
---@field urn string `urn:uuid:...`
---@field bytes string 16 bytes

--- Read a UUID in any of these forms.
---@param text string
---@return kumo.uuid.Uuid
function kumo.uuid.parse(text) end

--- Time and the address of the machine.
---@return kumo.uuid.Uuid
function kumo.uuid.new_v1() end

--- Random.
---@return kumo.uuid.Uuid
function kumo.uuid.new_v4() end

--- As version 1, in the order of time.
---@return kumo.uuid.Uuid
function kumo.uuid.new_v6() end

--- Milliseconds, then random; in the order of time.
---@return kumo.uuid.Uuid
function kumo.uuid.new_v7() end
