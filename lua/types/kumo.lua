---@meta
-- `kumo` itself: events, tasks, diagnostics, memory of results. Durations are numbers of seconds, texts such as
-- `5 minutes` or `1h30m`, or TimeDelta objects.

---@alias kumo.Duration number|string|kumo.time.TimeDelta

---@alias kumo.Event
---| 'pre_init'         # before init; several handlers may register
---| 'init'             # configure and start
---| 'main'             # `run --script`: gets the arguments
---| 'validate_config'  # `check`, and before a reload; several handlers may register
---| 'shutdown'         # the host stops; several handlers may register
---| 'get_acl_definition' # an access control list for a resource, or nil; several handlers may register
---| 'http_server_validate_auth_basic'  # gets user and password: true, false or who it is
---| 'http_server_validate_auth_bearer' # gets a token: true, false or who it is
---| 'audit_event'      # sees every event before it is recorded; `return false` drops it

--- True while `kumoaudit check` runs the policy.
---@type boolean
_VALIDATING_CONFIG = false

kumo = {}

--- Version of this host, such as `0.1.0-kumoaudit`.
---@type string
kumo.version = ''

--- Stands for a null inside tables; prints as `null`.
kumo.null = {}

--- A list that stays a list when it is empty. Without an argument a new one.
---@param t? any[] default {}
---@return any[]
function kumo.array(t) end

--- Register the handler of an event, at the top level of the policy.
---@param event kumo.Event|string
---@param fn fun(...): any
function kumo.on(event, fn) end

--- The call stack of each kumo.on of *event*, as `file:line` texts, innermost first; nil when there is none.
---@param event string
---@return string[][]?
function kumo.get_event_registrars(event) end

---@class kumo.Frame
---@field name? string
---@field name_what? string `global`, `local`, `method`, `field`
---@field source string
---@field short_src string
---@field what string `Lua` or `main`
---@field curr_line integer
---@field line_defined integer
---@field last_line_defined integer
---@field is_tail_call boolean always false

--- Frames of the policy on the call stack, innermost first.
---@param level? integer from the how-manieth on; default 1, the caller
---@return kumo.Frame[]
function kumo.traceback(level) end

--- Let this handler rest; the others go on.
---@param seconds number >= 0
function kumo.sleep(seconds) end

---@class kumo.TaskOptions
---@field event_name string its handler runs
---@field args? any[] plain data; default {}

--- Run the handler of an event beside everything else. Does nothing in validation.
---@param options kumo.TaskOptions
function kumo.spawn_task(options) end

--- Let `kumoaudit check` fail.
function kumo.validation_failed() end

--- Write a line of level error to the diagnostics (standard error); values are joined by a space.
---@param ... any
function kumo.log_error(...) end

--- As log_error, level warn.
---@param ... any
function kumo.log_warn(...) end

--- As log_error, level info.
---@param ... any
function kumo.log_info(...) end

--- As log_error, level debug.
---@param ... any
function kumo.log_debug(...) end

--- Which of kumo.log_* are shown: `off`, `error`, `warn`, `info`, `debug`, `trace`, or a list such as `info,lua=debug`.
--- Default `info`, or `$KUMOAUDIT_LOG` at start. The nearest of `lua`, `kumoaudit`, `kumod` and the bare level counts.
---@param filter string
function kumo.set_diagnostic_log_filter(filter) end

---@class kumo.MemoizeOptions
---@field name string of the cache; the same name and options share one cache
---@field ttl kumo.Duration how long a result is kept; 0 keeps nothing
---@field capacity integer results, >= 1; the one not asked for longest goes first
---@field invalidate_with_epoch? boolean forget results when kumo.bump_config_epoch is called; default false
---@field populate_timeout? kumo.Duration how long to wait for another task that makes the same result; default 120 s
---@field retry_on_populate_timeout? boolean wait up to three times that long; default false
---@field allow_stale_reads? boolean give out an expired result while another task makes it anew; default false

--- A function that remembers the results of *fn*, by its arguments (plain data). Errors are not remembered. Tables are
--- copied in and out, so nobody changes another's result; keep very large ones in a local instead.
---@generic F: function
---@param fn F
---@param options kumo.MemoizeOptions
---@return F
function kumo.memoize(fn, options) end

--- Change the capacity of a cache.
---@param name string
---@param capacity integer entries, >= 1
function kumo.set_lruttl_cache_capacity(name, capacity) end

--- Let caches with `invalidate_with_epoch` forget their results, and reload the policy if its files have changed.
function kumo.bump_config_epoch() end

--- Further files whose change reloads the policy. What it loads itself is watched without being named.
---@param patterns string[] with `*`, `**` and `{a,b}`; replaces those given before
function kumo.set_config_monitor_globs(patterns) end

--- Files that match the patterns of kumo.set_config_monitor_globs now: absolute paths, sorted.
---@return string[]
function kumo.eval_config_monitor_globs() end

--- No effect here: one runtime lives as long as the host.
---@param seconds number
function kumo.set_max_lua_context_age(seconds) end

--- No effect here: one runtime lives as long as the host.
---@param count integer
function kumo.set_max_lua_context_use_count(count) end

--- No effect here: one runtime lives as long as the host.
---@param count integer
function kumo.set_max_spare_lua_contexts(count) end

--- No effect here: one runtime lives as long as the host.
---@param percent integer
function kumo.set_lua_gc_on_put(percent) end

--- No effect here: it counts mail.
---@param path string
function kumo.configure_accounting_db_path(path) end

--- Older name of kumo.fs.glob.
---@param pattern string
---@param relative_to? string
---@param ttl_seconds? number
---@return string[]
function kumo.glob(pattern, relative_to, ttl_seconds) end

--- Older name of kumo.fs.read_dir.
---@param path string
---@return string[]
function kumo.read_dir(path) end

--- Older name of kumo.serde.json_load.
---@param path string
---@return any
function kumo.json_load(path) end

--- Older name of kumo.serde.json_parse.
---@param text string
---@return any
function kumo.json_parse(text) end

--- Older name of kumo.serde.json_encode.
---@param value any
---@return string
function kumo.json_encode(value) end

--- Older name of kumo.serde.json_encode_pretty.
---@param value any
---@return string
function kumo.json_encode_pretty(value) end

--- Older name of kumo.serde.toml_load.
---@param path string
---@return table
function kumo.toml_load(path) end

--- Older name of kumo.serde.toml_parse.
---@param text string
---@return table
function kumo.toml_parse(text) end

--- Older name of kumo.serde.toml_encode.
---@param value table
---@return string
function kumo.toml_encode(value) end

--- Older name of kumo.serde.toml_encode_pretty.
---@param value table
---@return string
function kumo.toml_encode_pretty(value) end
