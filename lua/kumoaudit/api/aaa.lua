-- kumo.aaa.*: ACLs, resources and the questions about them; the decisions themselves are made in Python.

local type, tostring, error, pcall, setmetatable = type, tostring, error, pcall, setmetatable
local format = string.format

return function(host)
  local py, answer, pack, where = host.py, host.answer, host.pack, host.where
  local resolve = require 'kumoaudit.keysource' (host)
  local handles = require 'kumoaudit.handles' (host)

  local function fail(text, ...)
    local at = where()
    error((at ~= '' and at .. ': ' or '') .. format(text, ...), 0)
  end

  -- What `getmetatable` of an object gives: how the host packs it, and nothing that can be changed.
  local function sealed(mt, mark)
    mt.__metatable = setmetatable({}, {
      __index = {
        __pack = function(object)
          return { [mark] = handles.number(object) }
        end,
      },
      __newindex = function()
        fail('an object of the host cannot be changed')
      end,
      __metatable = false,
    })
    return mt
  end

  -- An object without fields: it can only be handed on. *mark* tells Python what the number stands for.
  local function opaque(what, mark)
    return sealed({
      __index = function(_, name)
        local shown = type(name) == 'string' and "'" .. name .. "'" or tostring(name)
        fail('%s has no field %s: it can only be handed on', what, shown)
      end,
      __newindex = function()
        fail('%s cannot be changed', what)
      end,
      __tostring = function()
        return what
      end,
    }, mark)
  end

  local Acl = opaque('an access control list', '$acl')
  local Resource = opaque('a resource', '$resource')

  --- A list of rules: first match decides.
  host.put('kumo.aaa.make_access_control_list', function(rules)
    return handles.new(answer(py.acl_make(where(), pack.value(rules))), Acl)
  end)

  --- What a URL is for an ACL: its name and those of its parents.
  host.put('kumo.aaa.make_http_url_resource', function(local_addr, url, options)
    return handles.new(answer(py.resource_make(where(), pack.list(3, local_addr, url, options))), Resource)
  end)

  local Map = sealed({
    __newindex = function()
      fail('an ACL map cannot be changed')
    end,
    __tostring = function()
      return 'an ACL map'
    end,
  }, '$acl_map')
  Map.__index = {
    get = function(map, name)
      local number = handles.number(map)
      if not number then
        fail('map:get: call it as map:get(resource), with a colon')
      elseif type(name) ~= 'string' then
        fail('map:get: expected the name of a resource, got a %s', type(name))
      end
      local acl = answer(py.acl_of_map(number, name))
      return acl and handles.new(acl, Acl) or nil
    end,
  }

  --- The ACL map of a TOML text.
  host.put('kumo.aaa.load_acl_map', function(source)
    local text = resolve('kumo.aaa.load_acl_map', source)
    local name = type(source) == 'string' and source or 'the ACL map'
    return handles.new(answer(py.acl_map(where(), name, text, type(source) == 'string')), Map)
  end)

  -- The answer of the policy's handlers for a name, as Python understands it. Errors are recorded, then passed on.
  local function ask(query, name)
    local ok, acl = pcall(host.host.dispatch, 'get_acl_definition', name)
    if ok then
      return pack.value(acl)
    end
    answer(py.query_failed(query, type(acl) == 'string' and acl or pack.value(acl)))
    error(acl, 0)
  end

  --- Ask the ACLs; the decision is recorded whatever it is, also when it was known already.
  host.put('kumo.aaa.query_resource_access', function(resource, auth_info, privilege)
    local query, name, decision = answer(py.query_begin(where(), pack.list(3, resource, auth_info, privilege)))
    while name do
      query, name, decision = answer(py.query_step(query, ask(query, name)))
    end
    return decision
  end)
end
