---@meta
-- `kumo.aaa` and the listener: who somebody is, and what they may do. Objects (ACLs, maps, resources) have no fields
-- and are only handed on.

---@alias kumo.aaa.Context
---| 'HttpBasicAuth'
---| 'BearerToken'
---| 'GenericAuth'
---| 'LocalSystem'
---| 'SmtpAuthPlainAuthentication'
---| 'SmtpAuthPlainAuthorization'
---| 'ProxyAuthRfc1929'

---@class kumo.aaa.Identity
---@field identity string name
---@field context kumo.aaa.Context how it was shown

---@class kumo.aaa.AuthInfo
---@field peer_address? string IP address; default unknown
---@field identities? kumo.aaa.Identity[] default {}; without any, somebody is unauthenticated
---@field groups? string[] default {}

---@class kumo.aaa.Rule
---@field criteria table<string, any> one of `Identity`, `AllOf`, `AnyOf`, `Not`
---@field privilege string compared exactly; over HTTP the method
---@field access 'Allow'|'Deny'

---@class kumo.aaa.Acl

---@class kumo.aaa.Resource

---@class kumo.aaa.AclMap
local AclMap = {}

--- The ACL of a resource's name, exactly; nil when the file has no entry for it.
---@param resource string
---@return kumo.aaa.Acl?
function AclMap:get(resource) end

---@class kumo.aaa.Disposition
---@field allow boolean
---@field rule? kumo.aaa.Rule which decided; nil when none matched, which denies
---@field resource? string name whose ACL holds the rule
---@field id string of the Authorization record

--- An ACL of rules; the first that matches decides.
---@param rules kumo.aaa.Rule[]
---@return kumo.aaa.Acl
function kumo.aaa.make_access_control_list(rules) end

--- The ACL map of a TOML text, see [ACL maps](../how-to/access-control.md#acl-maps).
---@param source string|kumo.KeySource
---@return kumo.aaa.AclMap
function kumo.aaa.load_acl_map(source) end

--- What a URL on a listener is for ACLs: its name and those of its parents.
---@param local_addr string address of the listener with its port
---@param url string absolute, or the path; what is behind `?` does not count
---@param options? { normalise?: boolean } resolve dot segments, double slashes and escapes; default false
---@return kumo.aaa.Resource
function kumo.aaa.make_http_url_resource(local_addr, url, options) end

--- Ask the ACLs and record the decision. Raises when a handler of `get_acl_definition` or a log fails.
---@param resource kumo.aaa.Resource
---@param auth_info kumo.aaa.AuthInfo {} is nobody in particular
---@param privilege string
---@return kumo.aaa.Disposition
function kumo.aaa.query_resource_access(resource, auth_info, privilege) end

--- How long an ACL of the policy is kept; default 300 ms, 0 keeps none. Counts at once.
---@param duration kumo.Duration
function kumo.aaa.set_acl_cache_ttl(duration) end

--- How long a decision is kept; default 300 ms, 0 keeps none. Counts at once.
---@param duration kumo.Duration
function kumo.aaa.set_check_cache_ttl(duration) end

--- How long a successful login over HTTP is kept; default 10 s, 0 keeps none. Failures and errors never are.
---@param duration kumo.Duration
function kumo.aaa.set_authentication_cache_ttl(duration) end

--- Whether names without an ACL of the policy have that of the built-in map; default true.
---@param enabled boolean
function kumo.aaa.set_fall_back_to_acl_map(enabled) end

---@class kumo.HttpListenerOptions
---@field listen? string address and port; default `127.0.0.1:8000`; port 0 is any free one
---@field hostname? string in the certificate that the host makes; default the machine's name
---@field use_tls? boolean default false
---@field tls_certificate? string|kumo.KeySource PEM with its chain; default one that signs itself
---@field tls_private_key? string|kumo.KeySource PEM without a password; default in the same text as the certificate
---@field request_body_limit? integer bytes, 1 to 1073741824; default 2097152
---@field trusted_hosts? string[] addresses and networks; default `{ '127.0.0.1', '::1' }`

--- Serve HTTP, see [the routes](http.md). Only in `init`; once for each address.
---@param options kumo.HttpListenerOptions
function kumo.start_http_listener(options) end
