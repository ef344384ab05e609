-- Every request is a POST with the JSON text that the first argument is.
function init(arguments)
   wrk.method = "POST"
   wrk.body = arguments[1]
   wrk.headers["Content-Type"] = "application/json"
end
