---@meta
-- The `audit` module. A table of fields describes one event; a text (with `string.format` arguments, if any) is its
-- description alone. Every call returns the event's id, or nil when no log took it.

---@alias audit.Severity 'VERBOSE'|'INFO'|'WARNING'|'ALARM'

---@class audit.Fields
---@field type? string `message` (default) or a name that begins with `custom_`
---@field severity? audit.Severity default INFO; a shortcut such as `audit.alarm` has its own
---@field user? string who did it; default none
---@field module? string which part of the application; default none
---@field tag? string what it is about, such as an invoice's number; default none
---@field remote? string the peer's address, such as `203.0.113.7:52114`; default none
---@field session_type? string default `background`
---@field uuid? string id of the event, a UUID; default a new one
---@field description? string what happened; required unless a logger's fields have it

---@class audit.EventArguments
---@field type string a system event such as `user_create`
---@field args? table<string, any> what that event is about; default {}
---@field user? string default none
---@field remote? string default none
---@field session_type? string default `background`
---@field tag? string default none
---@field uuid? string a UUID; default a new one

---@class audit.Logger
local Logger = {}

audit = {}

--- Record an event.
---@param event string|number|audit.Fields
---@param ... any arguments of `string.format` behind a text
---@return string? id
function audit.log(event, ...) end

--- Record an event with severity VERBOSE.
---@param event string|number|audit.Fields
---@param ... any
---@return string? id
function audit.verbose(event, ...) end

--- Record an event with severity INFO.
---@param event string|number|audit.Fields
---@param ... any
---@return string? id
function audit.info(event, ...) end

--- Record an event with severity WARNING.
---@param event string|number|audit.Fields
---@param ... any
---@return string? id
function audit.warning(event, ...) end

--- Record an event with severity ALARM.
---@param event string|number|audit.Fields
---@param ... any
---@return string? id
function audit.alarm(event, ...) end

--- Record a system event: `audit.event('user_create', { user = 'bob' })` or one table.
---@param event string|audit.EventArguments
---@param args? table<string, any>
---@return string? id
function audit.event(event, args) end

--- A logger whose fields every one of its events has, unless the event has its own.
---@param fields? audit.Fields default {}
---@return audit.Logger
function audit.new(fields) end

--- Record an event.
---@param event string|number|audit.Fields
---@param ... any
---@return string? id
function Logger:log(event, ...) end

--- Record an event with severity VERBOSE.
---@param event string|number|audit.Fields
---@param ... any
---@return string? id
function Logger:verbose(event, ...) end

--- Record an event with severity INFO.
---@param event string|number|audit.Fields
---@param ... any
---@return string? id
function Logger:info(event, ...) end

--- Record an event with severity WARNING.
---@param event string|number|audit.Fields
---@param ... any
---@return string? id
function Logger:warning(event, ...) end

--- Record an event with severity ALARM.
---@param event string|number|audit.Fields
---@param ... any
---@return string? id
function Logger:alarm(event, ...) end

--- A logger with this one's fields and those given, which win.
---@param fields? audit.Fields default {}
---@return audit.Logger
function Logger:new(fields) end
