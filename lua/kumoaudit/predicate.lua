-- What compiled predicates call (core/predicate_lua.py writes the expressions).

local find, sub = string.find, string.sub

local predicate = {}

predicate.rank = { VERBOSE = 0, INFO = 1, WARNING = 2, ALARM = 3 }

--- Whether *s* is *first*, the texts of *middle* in order with anything between, *last*.
function predicate.glob(s, first, last, middle)
  local from, to = #first + 1, #s - #last
  if from > to + 1 or sub(s, 1, #first) ~= first or sub(s, to + 1) ~= last then
    return false
  end
  for i = 1, #middle do
    local a, b = find(s, middle[i], from, true)
    if not a or b > to then
      return false
    end
    from = b + 1
  end
  return true
end

return predicate
