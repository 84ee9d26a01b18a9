-- Objects of Python in the hands of a policy: a table whose number only the host knows. When the last one is collected,
-- its number goes into a list that the next call hands over: a finaliser may run anywhere, so it calls nothing.

local newproxy, getmetatable, setmetatable, unpack = newproxy, getmetatable, setmetatable, unpack

return function(host)
  local py, answer, pack = host.py, host.answer, host.pack
  local numbers = setmetatable({}, { __mode = 'k' })
  local anchors = setmetatable({}, { __mode = 'k' })
  local dead = {}

  local handles = {}

  --- A new object with metatable *mt* for *number*.
  function handles.new(number, mt)
    if #dead > 0 then
      local gone = dead
      dead = {}
      answer(py.forget(pack.list(#gone, unpack(gone))))
    end
    local object, anchor = setmetatable({}, mt), newproxy(true)
    getmetatable(anchor).__gc = function()
      dead[#dead + 1] = number
    end
    numbers[object], anchors[object] = number, anchor
    return object
  end

  --- The number of an object, or nil.
  function handles.number(object)
    return numbers[object]
  end

  return handles
end
