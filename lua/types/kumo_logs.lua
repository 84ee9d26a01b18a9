---@meta
-- `kumo.aaa` and `kumo.audit`: where events go. All of these are called in the handler of `pre_init` or `init`.

kumo.aaa = {}
kumo.audit = {}

---@class kumo.SharedLogOptions
---@field durability? 'process'|'power' what a recorded event survives: the host's death, or loss of power; default process
---@field overflow? 'block'|'drop' when events come faster than they are written; default block
---@field on_failure? 'refuse'|'continue' when the log cannot take an event: an error for the caller, or go on; default refuse
---@field required? boolean whether a failure of this log may refuse an event to its caller; default true for segments
---@field block_timeout? kumo.Duration how long a caller waits with overflow = block; default 10 s
---@field where? string|table<string, any> which events, as `severity >= ALARM` or a table of field = value(s); default all
---@field compression_window? integer power of two of the zstd window in bytes, 10 to 27; default 17
---@field compression_threads? integer threads that compress, 1 to 16; default 2

---@class kumo.aaa.AcctLogOptions: kumo.SharedLogOptions
---@field log_dir string directory of the segments
---@field max_file_size? integer uncompressed bytes of a segment; default 1000000000; 0 makes one per record
---@field back_pressure? integer records that may wait, >= 1; default 128000
---@field compression_level? integer of zstd, 0 to 21; default 0, which is zstd's own (3)
---@field max_segment_duration? kumo.Duration how long a segment is written to; default without limit
---@field min_free_space? string|integer `N%` or bytes that must stay free; default 10%
---@field min_free_inodes? string|integer `N%` or inodes that must stay free; default 10%
---@field log_authz_allow? boolean record decisions that allow; default true
---@field log_authz_deny? boolean record decisions that deny; default true
---@field log_authn_ok? boolean record logins that succeed; default true
---@field log_authn_fail? boolean record logins that fail; default true

--- Record logins and access decisions as KumoMTA does. Once.
---@param options kumo.aaa.AcctLogOptions
function kumo.aaa.configure_acct_log(options) end

---@class kumo.audit.LogOptions: kumo.SharedLogOptions
---@field name string letters, digits, `.`, `_`, `-`; 1 to 64 of them
---@field to? 'segments'|'devnull' destination; default segments
---@field path? string directory of the segments; default `<data directory>/<name>`
---@field format? 'native'|'kumo'|'tarantool_json' default native
---@field max_file_size? integer uncompressed bytes of a segment; default 1000000000
---@field max_segment_duration? kumo.Duration default without limit
---@field compression_level? integer of zstd, 0 to 21; default 0, which is zstd's own (3)

--- Add a log. Any number, each with a name of its own.
---@param options kumo.audit.LogOptions
function kumo.audit.configure_log(options) end

---@class kumo.audit.HostOptions
---@field node? string the name of this machine in every event; default the host name
---@field handler_timeout? kumo.Duration how long a handler may take; default 10 s
---@field max_event_size? integer bytes, 1024 to 1048576; default 1048576

--- What holds for the whole host. Once, before the first event and log.
---@param options kumo.audit.HostOptions
function kumo.audit.configure_host(options) end

---@class kumo.audit.SocketOptions
---@field path string of the Unix socket; made at the start, removed at the end
---@field mode? string who may connect, as octal digits of a file mode; default `0660`

--- Take records of applications over a Unix socket: JSON lines, see [records that applications send](ingest.md).
--- Only in `init`; once for each path.
---@param options kumo.audit.SocketOptions
function kumo.audit.start_socket_listener(options) end
