---@meta policy-extras.policy_utils
-- `local utils = require 'policy-extras.policy_utils'`

local utils = {}

---@param a any
---@param b any
---@param ignore_mt? boolean compare by content although there is an __eq; default false
---@return boolean
function utils.equals(a, b, ignore_mt) end

---@param a any
---@param b any
---@param message? string stands before the error's text
function utils.assert_eq(a, b, message) end

---@param a any
---@param b any
---@param message? string
function utils.assert_ne(a, b, message) end

---@param text string
---@param start string
---@return boolean
function utils.starts_with(text, start) end

---@param text string
---@param tail string
---@return boolean
function utils.ends_with(text, tail) end

---@param t table
---@param value any
---@return boolean
function utils.table_contains(t, value) end

---@param t table
---@return any[]
function utils.table_keys(t) end

---@param t table
---@return boolean
function utils.table_is_empty(t) end

---@param from? table
---@param into table changed
function utils.merge_into(from, into) end

---@param from? table
---@param into table changed, also what it holds
function utils.recursive_merge_into(from, into) end

---@param filename string|table `.toml`, `.yaml`, `.yml`, else JSON; a table comes back as it is
---@return any
function utils.load_json_or_toml_file(filename) end

---@param text string `127.0.0.1:25` or `[::1]:25`
---@return string? ip
---@return string? port
function utils.split_ip_port(text) end

---@param value any
---@return string
function utils.dumps(value) end

return utils
