"""Answers every request with what reached it: the method, the target, and all headers in order as `[name, value]`."""

from fastapi import FastAPI, Request
from serving import serve

app = FastAPI()


@app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
async def echo(request: Request):
    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.headers.raw]
    return {
        "method": request.method,
        "target": str(request.url),
        "headers": headers,
        "body": (await request.body()).decode(),
    }


serve(app)
