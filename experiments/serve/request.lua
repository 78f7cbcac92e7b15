-- Requests of wrk: a random user of the file USERS each time, whose 10 best items are asked for.
local users = {}
for line in io.lines(os.getenv("USERS")) do users[#users + 1] = line end
local seeded = 0
function setup(thread)
  seeded = seeded + 1
  thread:set("seed", seeded)
end
function init() math.randomseed(seed) end
function request()
  local body = '{"user": "' .. users[math.random(#users)] .. '", "k": 10}'
  return wrk.format("POST", "/recommend", { ["Content-Type"] = "application/json" }, body)
end
