"""The locks section of bench.py: an exclusive lock around each request, on one key and on many.

The rival is what people write: nginx with lua-resty-redis takes the lock with SET NX PX, asks again every
POLL_MS while it is taken, asks the service, and gives it back by compare-and-delete before the client has
the answer.  It has no queue, no renewal and no fencing token.  The latencies are the clients': the wait
for the lock and the request."""

POLL_MS = 10
WAIT_S = 30
LEASE_S = 10

DELETE_IF_MINE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"

LOCK_LUA = """
local redis = require "nginx.redis"
local red = redis:new()
red:set_timeout(1000)
local ok, err = red:connect("unix:%(socket)s")
if not ok then
    return ngx.exit(503)
end
local key, id = "lock:" .. (ngx.var.arg_k or "hot"), ngx.var.request_id
local deadline = ngx.now() + %(wait_s)d
while true do
    ok, err = red:set(key, id, "NX", "PX", %(lease_ms)d)
    if ok == "OK" then
        break
    elseif ok ~= ngx.null then
        ngx.log(ngx.ERR, err)
        return ngx.exit(503)
    elseif ngx.now() > deadline then
        return ngx.exit(423)
    end
    ngx.sleep(%(poll_s)f)
    ngx.update_time()
end
local answer = ngx.location.capture("/pass/", {method = ngx["HTTP_" .. ngx.req.get_method()]})
red:evalsha("%(sha)s", 1, key, id)
red:set_keepalive(10000, 256)
ngx.status = answer.status
ngx.print(answer.body)
"""


def start_polling_nginx(bench):
    sha = bench.redis_cli("SCRIPT", "LOAD", DELETE_IF_MINE).strip()
    script = bench.write("lock.lua", LOCK_LUA % {
        "socket": bench.redis_socket, "sha": sha, "wait_s": WAIT_S, "lease_ms": LEASE_S * 1000,
        "poll_s": POLL_MS / 1000})
    return bench.start_nginx_proxy(front=f"location = / {{ content_by_lua_file {script}; }}")


def start_lockkeeper(bench, key, **lock):
    # As patient with Redis as the rival is: here a late answer is the machine's fault, not Redis's.
    return bench.start_lockkeeper(store_options={"timeout": "1s"}, routes=[{"name": "bench", "match": {"path": "/"}, "lock": {
        "key": key, "wait": f"{WAIT_S}s", "lease": f"{LEASE_S}s", "queue_max": 10000, **lock}}])


def contests(bench, spread):
    """(title, rivals, wrk's script) of each."""
    nginx = f"nginx + lua, SET NX PX, asks every {POLL_MS} ms"
    polling = start_polling_nginx(bench)
    many = start_lockkeeper(bench, "bench:{query.k}", on_missing_key="shared")
    yield "An exclusive lock, one of 10000 keys", {"lockkeeper": many, nginx: polling}, spread
    hot = start_lockkeeper(bench, "bench")
    yield "An exclusive lock, hot key", {"lockkeeper": hot, nginx: polling}, None
