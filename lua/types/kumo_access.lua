---@meta
-- `kumo.aaa`: who may do what; and the HTTP listener that asks it.

---@class kumo.AclMap
local AclMap = {}

--- The access control list of a resource, or nil.
---@param resource string name of the resource, as `http_listener/*/metrics`
---@return kumo.Acl?
function AclMap:get(resource) end

---@class kumo.Acl an access control list; it has no fields and can only be returned from `get_acl_definition`

---@class kumo.Resource a resource with the names of its parents; it has no fields

---@alias kumo.KeySource string|{ key_data: string }|{ event_name: string, event_args?: any[] }

---@alias kumo.SmtpContext 'SmtpAuthPlainAuthentication'|'SmtpAuthPlainAuthorization'
---@alias kumo.Context kumo.SmtpContext|'HttpBasicAuth'|'BearerToken'|'ProxyAuthRfc1929'|'LocalSystem'|'GenericAuth'

---@class kumo.Identity
---@field identity string who
---@field context kumo.Context how that is known

---@class kumo.AuthInfo
---@field peer_address? string IP address of the other end
---@field identities? kumo.Identity[] none: unauthenticated, whatever the groups
---@field groups? string[] names of groups

---@class kumo.Rule
---@field criteria table<string, any> `{ Identity = ... }`, `{ AllOf = {...} }`, `{ AnyOf = {...} }` or `{ Not = ... }`
---@field privilege string compared exactly, as `GET`
---@field access 'Allow'|'Deny'

---@class kumo.Disposition
---@field allow boolean
---@field id string of the record
---@field rule? kumo.Rule the rule that decided; nil when none matched
---@field resource? string name of the resource whose list decided

--- Read an ACL map (TOML). It may be kept by `kumo.memoize`.
---@param source kumo.KeySource
---@return kumo.AclMap
function kumo.aaa.load_acl_map(source) end

--- A list of rules; the first that matches decides.
---@param rules kumo.Rule[]
---@return kumo.Acl
function kumo.aaa.make_access_control_list(rules) end

--- The resource that a URL is: `http_listener/ADDRESS/path`, then its parents.
---@param local_addr string address and port, as `127.0.0.1:8000`
---@param url string absolute, or a path
---@param options? { normalise?: boolean } normalise: resolve dots, escapes and double slashes first; default false
---@return kumo.Resource
function kumo.aaa.make_http_url_resource(local_addr, url, options) end

--- Ask the ACLs; the decision is recorded. Raises an error when a handler does, or when nothing can be recorded.
---@param resource kumo.Resource
---@param auth_info kumo.AuthInfo `{}` is nobody in particular
---@param privilege string
---@return kumo.Disposition
function kumo.aaa.query_resource_access(resource, auth_info, privilege) end

--- How long the answer of `get_acl_definition` is kept; 0 is not at all. Default 300 ms; a lower one counts at once.
---@param ttl kumo.Duration
function kumo.aaa.set_acl_cache_ttl(ttl) end

--- How long a decision is kept; 0 is not at all. Default 300 ms; a lower one counts at once.
---@param ttl kumo.Duration
function kumo.aaa.set_check_cache_ttl(ttl) end

--- How long good credentials are kept; 0 is not at all. Default 10 s. Failures and errors never are.
---@param ttl kumo.Duration
function kumo.aaa.set_authentication_cache_ttl(ttl) end

--- Whether resources for which the policy has no list have that of the built-in map; default true.
---@param enabled boolean
function kumo.aaa.set_fall_back_to_acl_map(enabled) end

---@class kumo.HttpListenerOptions
---@field listen? string address and port; port 0 takes a free one; default 127.0.0.1:8000
---@field hostname? string name in the certificate that the host makes for itself; default the host name
---@field use_tls? boolean default false
---@field tls_certificate? kumo.KeySource PEM, with its chain; default one that signs itself
---@field tls_private_key? kumo.KeySource PEM, without a password; default what `tls_certificate` holds
---@field request_body_limit? integer bytes of a body, unpacked; default 2097152
---@field trusted_hosts? string[] peers in the group `kumomta:http-listener-trusted-ip`; default 127.0.0.1 and ::1

--- Serve HTTP: every request is authenticated, authorized and recorded. In the handler of `pre_init` or `init`.
---@param options? kumo.HttpListenerOptions
function kumo.start_http_listener(options) end
