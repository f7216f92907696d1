-- wrk: a token that was never sent before with each request, from the file $FRESH_TOKENS; the run ends when they do.
-- Cycling would let caches of verified tokens find them again.

dofile("report.lua")

local ffi = require("ffi")
ffi.cdef("int getpid(void); int kill(int pid, int signal);")
local INTERRUPT = 2

local tokens = io.lines(os.getenv("FRESH_TOKENS"))
local head = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "
local last

function request()
   local token = tokens and tokens()
   if not token and tokens then
      -- This thread stops at once; the interrupt wakes the main thread, which then takes the time.
      tokens = nil
      wrk.thread:stop()
      ffi.C.kill(ffi.C.getpid(), INTERRUPT)
   end
   last = token or last
   return head .. last .. "\r\n\r\n"
end
