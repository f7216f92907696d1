"""What stands behind the complete configs where the real thing is too heavy: an echo, a WebSocket, a model, an auth service."""

import json
import os

from fastapi import FastAPI, Form, Request, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse
from serving import serve

app = FastAPI()
PASSWORD = os.environ.get("PASSWORD", "")
CUSTOMERS_KEY = os.environ.get("CUSTOMERS_KEY", "")
USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


@app.post("/auth/token")
@app.post("/auth/login")
async def sign_in(username: str = Form(), password: str = Form()):
    if password != PASSWORD:
        return JSONResponse({"error": "invalid_grant"}, 400)
    return {"access_token": f"of {username}", "token_type": "bearer"}


@app.post("/auth/register")
async def register(request: Request):
    return JSONResponse(await request.json(), 201)


@app.post("/api/v1/keys/validate")
async def validate(request: Request):
    """What an auth service says of customers' keys."""
    asked = await request.json()
    if asked["api_key"] != CUSTOMERS_KEY:
        return JSONResponse({"valid": False}, 401)
    scopes = ["mlflow:access", "model:read"]
    return {"valid": True, "user_id": "customer-7", "tenant_id": "acme", "scopes": scopes, "tier": "pro", "key_id": "k7"}


@app.post("/v1/chat/completions")
async def complete(request: Request):
    asked = await request.json()
    if not asked.get("stream"):
        told = {"role": "assistant", "content": request.headers.get("authorization")}
        return {"object": "chat.completion", "choices": [{"index": 0, "message": told}], "usage": USAGE}

    async def pieces():
        for word in ["one", "two"]:
            yield f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': word}}]})}\n\n"
        yield f"data: {json.dumps({'choices': [], 'usage': USAGE})}\n\ndata: [DONE]\n\n"

    return StreamingResponse(pieces(), media_type="text/event-stream")


@app.websocket("/ws/chat/{room}")
async def talk(socket: WebSocket, room: str):
    offered = socket.headers.get("sec-websocket-protocol", "").split(", ")
    await socket.accept(subprotocol="chat" if "chat" in offered else None)
    await socket.send_json({"room": room, "user": socket.headers.get("x-user-id"), "offered": offered})
    async for text in socket.iter_text():
        await socket.send_text(text)


@app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
async def echo(path: str, request: Request):
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers.raw}
    return {"method": request.method, "path": f"/{path}", "headers": headers}


serve(app)
