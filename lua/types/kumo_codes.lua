---@meta
-- `kumo.digest` and `kumo.encode`: hashes and text forms of bytes. Neither is a password hash.

kumo.digest = {}
kumo.encode = {}

--- `tostring(digest)` is its hex text; digests of equal bytes are equal.
---@class kumo.digest.Digest
---@field bytes string
---@field hex string lower case
---@field base32 string
---@field base32_nopad string
---@field base64 string
---@field base64_nopad string
---@field base64url string
---@field base64url_nopad string

--- CRC32 of all arguments, one behind the other (no protection against intent); what is no text counts as its JSON.
---@param ... any
---@return kumo.digest.Digest
function kumo.digest.crc32(...) end

--- SHA1 of all arguments, one behind the other; what is no text counts as its JSON.
---@param ... any
---@return kumo.digest.Digest
function kumo.digest.sha1(...) end

--- SHA224 of all arguments, one behind the other; what is no text counts as its JSON.
---@param ... any
---@return kumo.digest.Digest
function kumo.digest.sha224(...) end

--- SHA256 of all arguments, one behind the other; what is no text counts as its JSON.
---@param ... any
---@return kumo.digest.Digest
function kumo.digest.sha256(...) end

--- SHA384 of all arguments, one behind the other; what is no text counts as its JSON.
---@param ... any
---@return kumo.digest.Digest
function kumo.digest.sha384(...) end

--- SHA512 of all arguments, one behind the other; what is no text counts as its JSON.
---@param ... any
---@return kumo.digest.Digest
function kumo.digest.sha512(...) end

--- SHA3-256 of all arguments, one behind the other; what is no text counts as its JSON.
---@param ... any
---@return kumo.digest.Digest
function kumo.digest.sha3_256(...) end

--- SHA3-384 of all arguments, one behind the other; what is no text counts as its JSON.
---@param ... any
---@return kumo.digest.Digest
function kumo.digest.sha3_384(...) end

--- SHA3-512 of all arguments, one behind the other; what is no text counts as its JSON.
---@param ... any
---@return kumo.digest.Digest
function kumo.digest.sha3_512(...) end

--- HMAC-SHA1 of *message*.
---@param key string|kumo.KeySource path of the key's file, or another keysource
---@param message string
---@return kumo.digest.Digest
function kumo.digest.hmac_sha1(key, message) end

--- HMAC-SHA224 of *message*.
---@param key string|kumo.KeySource path of the key's file, or another keysource
---@param message string
---@return kumo.digest.Digest
function kumo.digest.hmac_sha224(key, message) end

--- HMAC-SHA256 of *message*.
---@param key string|kumo.KeySource path of the key's file, or another keysource
---@param message string
---@return kumo.digest.Digest
function kumo.digest.hmac_sha256(key, message) end

--- HMAC-SHA384 of *message*.
---@param key string|kumo.KeySource path of the key's file, or another keysource
---@param message string
---@return kumo.digest.Digest
function kumo.digest.hmac_sha384(key, message) end

--- HMAC-SHA512 of *message*.
---@param key string|kumo.KeySource path of the key's file, or another keysource
---@param message string
---@return kumo.digest.Digest
function kumo.digest.hmac_sha512(key, message) end

--- Bytes -> base64.
---@param data string
---@return string
function kumo.encode.base64_encode(data) end

--- Base64 -> bytes; anything else is an error.
---@param text string
---@return string
function kumo.encode.base64_decode(text) end

--- Bytes -> base64 without padding.
---@param data string
---@return string
function kumo.encode.base64_nopad_encode(data) end

--- Base64 without padding -> bytes; anything else is an error.
---@param text string
---@return string
function kumo.encode.base64_nopad_decode(text) end

--- Bytes -> base64url.
---@param data string
---@return string
function kumo.encode.base64url_encode(data) end

--- Base64url -> bytes; anything else is an error.
---@param text string
---@return string
function kumo.encode.base64url_decode(text) end

--- Bytes -> base64url without padding.
---@param data string
---@return string
function kumo.encode.base64url_nopad_encode(data) end

--- Base64url without padding -> bytes; anything else is an error.
---@param text string
---@return string
function kumo.encode.base64url_nopad_decode(text) end

--- Bytes -> base32.
---@param data string
---@return string
function kumo.encode.base32_encode(data) end

--- Base32 -> bytes; anything else is an error.
---@param text string
---@return string
function kumo.encode.base32_decode(text) end

--- Bytes -> base32 without padding.
---@param data string
---@return string
function kumo.encode.base32_nopad_encode(data) end

--- Base32 without padding -> bytes; anything else is an error.
---@param text string
---@return string
function kumo.encode.base32_nopad_decode(text) end

--- Bytes -> base32hex.
---@param data string
---@return string
function kumo.encode.base32hex_encode(data) end

--- Base32hex -> bytes; anything else is an error.
---@param text string
---@return string
function kumo.encode.base32hex_decode(text) end

--- Bytes -> base32hex without padding.
---@param data string
---@return string
function kumo.encode.base32hex_nopad_encode(data) end

--- Base32hex without padding -> bytes; anything else is an error.
---@param text string
---@return string
function kumo.encode.base32hex_nopad_decode(text) end

--- Bytes -> hex.
---@param data string
---@return string
function kumo.encode.hex_encode(data) end

--- Hex -> bytes; anything else is an error.
---@param text string
---@return string
function kumo.encode.hex_decode(text) end
