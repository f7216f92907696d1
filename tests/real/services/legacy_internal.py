"""A service that knows one shared secret: FastAPI with the `InternalAuthMiddleware` that such platforms have."""

import hmac
import os

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from serving import serve
from starlette.middleware.base import BaseHTTPMiddleware

OPEN = {"/health", "/docs", "/openapi.json"}


class InternalAuthMiddleware(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        if request.url.path in OPEN:
            return await call_next(request)
        presented = request.headers.getlist("X-Internal-Auth")
        if len(presented) != 1 or not hmac.compare_digest(presented[0], os.environ["INTERNAL_API_KEY"]):
            return JSONResponse({"detail": "Invalid or missing internal authentication"}, 401)
        request.state.user = request.headers.get("X-User-ID", "system")
        return await call_next(request)


app = FastAPI()
app.add_middleware(InternalAuthMiddleware)


@app.get("/health")
def health():
    return {"status": "ok"}


@app.get("/api/v1/conversations")
def conversations(request: Request):
    return {"user": request.state.user, "users": request.headers.getlist("X-User-ID")}


serve(app)
