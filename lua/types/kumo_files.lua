---@meta
-- `kumo.fs.open`, `kumo.jsonl`, `sqlite`: files, segments and databases in the hands of a policy. Reading and writing go
-- on outside the policy's turn, so other handlers run meanwhile (not in a coroutine of the policy's own). Objects are
-- closed when they are collected; `close` does it at once. `kumoaudit check` writes nothing: files for writing are
-- `/dev/null`, databases are copies in memory, lines and checkpoints are checked and dropped.

kumo.jsonl = {}

local sqlite = {}

--- Open a file: `r` (the default), `w`, `a`, `r+` (made when missing), `w+` or `a+`, each also with `b`.
---@param path string
---@param mode? string
---@return kumo.fs.File
function kumo.fs.open(path, mode) end

---@class kumo.fs.File
local File = {}

--- The bytes up to the end, or at most *size* of them; an empty text at the end. A GiB at a time at most.
---@param size? integer
---@return string
function File:read(size) end

--- Write all of *data* where the file is (`a`, `a+`: at the end).
---@param data string
function File:write(data) end

--- Go to *position* from the start (`set`), from here (`cur`, the default) or from the end (`end`); gives the new one.
---@param whence? string
---@param position? integer default 0
---@return integer
function File:seek(whence, position) end

--- Nothing is held back by the host, so there is nothing to do.
function File:flush() end

function File:close() end

--- What a path is; links are followed.
---@param path string
---@return kumo.fs.Metadata
function kumo.fs.metadata_for_path(path) end

--- What a path is; a link is a link.
---@param path string
---@return kumo.fs.Metadata
function kumo.fs.symlink_metadata_for_path(path) end

---@class kumo.fs.Metadata
---@field path string as given
---@field is_file boolean
---@field is_dir boolean
---@field is_symlink boolean
---@field len integer size in bytes
---@field size integer the same
---@field readonly boolean nobody has the permission to write
---@field mtime kumo.time.Time last change of the content
---@field atime kumo.time.Time last read
---@field ctime kumo.time.Time last change of the inode
---@field mode integer
---@field uid integer
---@field gid integer
---@field dev integer
---@field ino integer
---@field nlink integer
---@field rdev integer
---@field blksize integer
---@field blocks integer of 512 bytes

--- As kumo.fs.glob, which keeps no results here either.
---@param pattern string
---@param relative_to? string
---@return string[]
function kumo.fs.uncached_glob(pattern, relative_to) end

--- The older name of kumo.fs.uncached_glob.
---@param pattern string
---@param relative_to? string
---@return string[]
function kumo.uncached_glob(pattern, relative_to) end

---@class kumo.jsonl.TailerOptions
---@field directory string whose segments are read, in the order of their names
---@field pattern? string which of its files; default `*`
---@field max_batch_size? integer records of one batch; default 100
---@field max_batch_latency? kumo.Duration what a batch that is not full waits for more; default 1 s
---@field checkpoint_name? string the place to go on from is kept in `<directory>/.<name>`; default none
---@field poll_watcher? kumo.Duration how often an end is looked at for more; default 200 ms (no notifications are used)
---@field tail? boolean begin with the newest file, whatever the checkpoint says; default false

--- Read zstd segments of JSON lines, our own and KumoMTA's. A file is complete when it is read-only; until then its end is
--- waited for. A last line that is not whole, and files that cannot be decoded, are passed over with a warning.
---@param options kumo.jsonl.TailerOptions
---@param filter? fun(record:any):boolean
---@return kumo.jsonl.Tailer
function kumo.jsonl.new_tailer(options, filter) end

---@class kumo.jsonl.ConsumerOptions
---@field name string
---@field max_batch_size? integer records of one batch; default 100
---@field max_batch_latency? kumo.Duration what a batch that is not full waits for more; default 1 s
---@field checkpoint_name? string the place to go on from is kept in `<directory>/.<name>`; default none

---@class kumo.jsonl.Consumer: kumo.jsonl.ConsumerOptions
---@field filter? fun(record:any):boolean which records it gets; default all

---@class kumo.jsonl.SourceOptions
---@field directory string whose segments are read, in the order of their names
---@field pattern? string which of its files; default `*`
---@field poll_watcher? kumo.Duration how often an end is looked at for more; default 200 ms
---@field tail? boolean begin with the newest file, whatever the checkpoints say; default false

---@class kumo.jsonl.MultiTailerOptions: kumo.jsonl.SourceOptions
---@field consumers kumo.jsonl.Consumer[] each name and each checkpoint once

--- The same for several consumers, with one reading.
---@param options kumo.jsonl.MultiTailerOptions
---@return kumo.jsonl.Tailer
function kumo.jsonl.new_multi_tailer(options) end

---@class kumo.jsonl.Tailer
local Tailer = {}

--- `for batch in tailer:batches() do`; with several consumers a list of batches. Ends with `close`, and when the host stops.
---@return fun():kumo.jsonl.LogBatch|kumo.jsonl.LogBatch[]|nil
function Tailer:batches() end

--- End the loop. Writes no checkpoint.
function Tailer:close() end

---@class kumo.jsonl.LogBatch
local LogBatch = {}

--- The records; none after the commit.
---@return any[]
function LogBatch:records() end

--- `for record in batch:iter_records() do`
---@return fun():any
function LogBatch:iter_records() end

--- `default` without consumers; empty after the commit.
---@return string
function LogBatch:consumer_name() end

--- Let the checkpoint be the end of this batch. A second time is an error.
function LogBatch:commit() end

---@class kumo.jsonl.WriterOptions
---@field log_dir string a directory of its own, never a log of this host; made when missing
---@field max_file_size? integer bytes of lines in one file; default 134217728
---@field max_segment_duration? kumo.Duration age at which a file ends, also when nothing comes; default none
---@field compression_level? integer zstd level, 0 is 3; default 3
---@field suffix? string end of the file names; default none
---@field tz? string time zone of the file names; default UTC

--- Write lines into zstd files named `YYYYMMDD-HHMMSS.nnnnnnnnn<suffix>`, mode 0640 and 0440 when complete. They are
--- finished by `close`, when the writer is collected and when the host ends.
---@param options kumo.jsonl.WriterOptions
---@return kumo.jsonl.Writer
function kumo.jsonl.new_writer(options) end

---@class kumo.jsonl.Writer
local Writer = {}

--- One record as a line of JSON, at most 16 MiB. It is in the file when this returns.
---@param line string
function Writer:write_line(line) end

--- One record as a value.
---@param record any
function Writer:write_record(record) end

--- Finish the file; a later line begins a new one.
function Writer:close() end

--- `local sqlite = require 'sqlite'`. Open a database; statements wait *busy_ms* for a lock of others.
---@param path string `:memory:` for one in memory
---@param busy_ms? integer default 500
---@return sqlite.Database
function sqlite.open(path, busy_ms) end

---@class sqlite.Database
local Database = {}

--- Run one statement, with values for its `?`, or a table of values for its `:names`. Gives the number of changed rows;
--- for a query a list of values when it has one column, else of tables. NULL is kumo.null in a list of values and absent
--- in a table; texts that are no UTF-8 are blobs; integers beyond 2^53 are texts. Errors hold no parameters.
---@param sql string
---@param ... any
---@return integer|any[]
function Database:execute(sql, ...) end

return sqlite
