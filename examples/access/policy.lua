-- Who may do what over HTTP: users and tokens from users.toml, rights from acl.toml.
--
--   cd examples/access && kumoaudit run policy.lua
--   curl -u alice:wonderland http://127.0.0.1:8000/metrics
--
-- Both files count as soon as they change: the host loads the policy again, and forgets what it had in its caches.

local people = kumo.serde.toml_load 'users.toml'

local acl_map = kumo.memoize(kumo.aaa.load_acl_map, {
  name = 'acl_map',
  ttl = '5 minutes',
  capacity = 1,
  invalidate_with_epoch = true,
})

-- What somebody is known by, behind what the connection says: the address, and whether it is trusted.
local function auth_info(name, context, groups)
  return { identities = { { identity = name, context = context } }, groups = groups }
end

kumo.on('http_server_validate_auth_basic', function(name, password)
  local user = people.users[name]
  -- Without a hash the check takes as long and fails, so that nobody learns which names exist.
  if password and kumo.secrets.check_password(password, user and user.hash) then
    return auth_info(name, 'HttpBasicAuth', user.groups)
  end
  return false
end)

kumo.on('http_server_validate_auth_bearer', function(token)
  local owner = people.tokens[kumo.digest.sha256(token).hex]
  return owner ~= nil and auth_info(owner.name, 'BearerToken', owner.groups)
end)

kumo.on('get_acl_definition', function(resource)
  return acl_map('acl.toml'):get(resource)
end)

kumo.on('validate_config', function()
  acl_map 'acl.toml' -- a mistake in it is one of the policy
end)

kumo.on('init', function()
  kumo.aaa.configure_acct_log { log_dir = 'acct' }
  kumo.start_http_listener { listen = '127.0.0.1:8000', trusted_hosts = {} }
end)
