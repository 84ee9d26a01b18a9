---@meta
-- `kumo.serde`, `kumo.fs`, `kumo.secrets`: files and formats. Relative paths are relative to the working directory.
--
-- Into Lua: a null inside a table is kumo.null (alone it is nil), an empty list stays a list, dates are RFC 3339 texts.
-- Integers beyond 2^53, which a Lua number cannot hold exactly, are texts with all their digits; so they can be shown,
-- compared and used as keys, and are written back as texts.
-- Out of Lua: keys sorted, numbers with as few digits as are exact, 64-bit integers exact; bytes that are not UTF-8 are
-- shown as \xHH. Functions, nan and infinities are refused with their place.

kumo.serde = {}
kumo.fs = {}
kumo.secrets = {}
kumo.cidr = {}

--- JSON of a file. Comments (`/* */`, `//`, `#`) may stand in it.
---@param path string
---@return any
function kumo.serde.json_load(path) end

--- JSON of a text. Comments may stand in it; bytes that are not UTF-8 are kept.
---@param text string
---@return any
function kumo.serde.json_parse(text) end

--- One line of JSON.
---@param value any
---@return string
function kumo.serde.json_encode(value) end

--- JSON with two spaces of indentation.
---@param value any
---@return string
function kumo.serde.json_encode_pretty(value) end

---@param path string
---@return table
function kumo.serde.toml_load(path) end

---@param text string
---@return table
function kumo.serde.toml_parse(text) end

--- TOML; lists on one line. Null is refused.
---@param value table
---@return string
function kumo.serde.toml_encode(value) end

--- TOML; lists with one item per line.
---@param value table
---@return string
function kumo.serde.toml_encode_pretty(value) end

--- As toml_encode_pretty; an empty table is `key = {}`.
---@param value table
---@return string
function kumo.serde.toml_encode_pretty_compact(value) end

--- YAML 1.2, one document: `yes` is a text, a key that stands twice is refused.
---@param path string
---@return any
function kumo.serde.yaml_load(path) end

---@param text string
---@return any
function kumo.serde.yaml_parse(text) end

---@param value any
---@return string
function kumo.serde.yaml_encode(value) end

--- Names of files, sorted; absolute, or relative to *relative_to*. `**` goes through directories.
---@param pattern string
---@param relative_to? string directory in which the pattern is looked for; default the working directory
---@param ttl_seconds? number accepted; every call looks anew
---@return string[]
function kumo.fs.glob(pattern, relative_to, ttl_seconds) end

--- Absolute names of what a directory holds, sorted.
---@param path string
---@return string[]
function kumo.fs.read_dir(path) end

---@class kumo.KeySource
---@field key_data? string the secret itself
---@field event_name? string the handler of this event returns the secret
---@field event_args? any[] arguments of that handler; default {}

--- The bytes of a secret: of a file (its path), as given, or from a handler.
---@param source string|kumo.KeySource
---@return string
function kumo.secrets.load(source) end

---@class kumo.PasswordCost
---@field time_cost? integer passes over the memory; default 3
---@field memory? integer KiB of memory; default 65536
---@field parallelism? integer lanes; default 4

--- An argon2id hash of a password (a PHC text that begins with `$argon2id$`), with a salt of its own. Takes about 0.1 s;
--- other handlers go on meanwhile.
---@param password string
---@param options? kumo.PasswordCost
---@return string
function kumo.secrets.hash_password(password, options) end

--- Whether a password fits an argon2 hash. Anything else than such a hash is false, with a warning once per line.
--- Give nil for an unknown user: that is false and takes as long as a wrong password, so names cannot be guessed by time.
---@param password string
---@param hash string|false|nil
---@return boolean
function kumo.secrets.check_password(password, hash) end

--- A map from networks to values. `map['10.1.2.3']` gives the value of the longest prefix that holds the address, or nil;
--- `ip:port` and `[v6]:port` are accepted too. `map['10.0.0.0/8'] = value` adds a network. It cannot be walked.
---@param networks? table<string, any>
---@return table<string, any>
function kumo.cidr.make_map(networks) end
