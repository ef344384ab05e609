-- Every write holds as many GET requests as the first argument says.
local batch

function init(arguments)
   batch = string.rep(wrk.format("GET"), tonumber(arguments[1]))
end

function request()
   return batch
end
