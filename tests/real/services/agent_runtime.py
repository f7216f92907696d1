"""An agent runtime as people write them, on FastAPI and uvicorn: chat, also as events and over a WebSocket, and uploads.

It knows of tokens nothing: who calls is in `X-User-ID`.
"""

import asyncio
import hashlib
import json
import time

from fastapi import FastAPI, Header, Request, UploadFile, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from serving import serve

app = FastAPI()
# By name of the conversation: the rest of its answer waits for it.
released = {}
# Conversations that somebody listens to.
heard = set()


class Message(BaseModel):
    text: str
    conversation: str = ""


@app.get("/health")
def health():
    return {"status": "ok"}


@app.post("/api/v1/chat")
def chat(message: Message, x_user_id: str = Header()):
    return {"user": x_user_id, "answer": message.text[::-1]}


@app.post("/api/v1/chat/stream")
async def stream(message: Message, x_user_id: str = Header()):
    waits = released.setdefault(message.conversation, asyncio.Event()) if message.conversation else None

    async def events():
        heard.add(message.conversation)
        try:
            # The clock is the machine's: a client here reads the same.
            yield event(user=x_user_id, sent_ns=time.monotonic_ns())
            for word in message.text.split():
                if waits:
                    await waits.wait()
                yield event(word=word)
            yield "data: [DONE]\n\n"
        finally:
            heard.discard(message.conversation)

    return StreamingResponse(events(), media_type="text/event-stream")


def event(**fields):
    return f"data: {json.dumps(fields)}\n\n"


@app.get("/api/v1/chat/heard")
def who_is_heard():
    return sorted(heard)


@app.post("/api/v1/chat/{conversation}/release")
async def release(conversation: str):
    released.setdefault(conversation, asyncio.Event()).set()


@app.websocket("/api/v1/ws")
async def socket(socket: WebSocket):
    offered = socket.headers.get("sec-websocket-protocol", "")
    await socket.accept(subprotocol="chat" if "chat" in offered else None)
    await socket.send_json({"user": socket.headers.get("x-user-id"), "offered": offered})
    try:
        while True:
            message = await socket.receive()
            if message.get("text") == "bye":
                await socket.close(4000, "bye " + socket.headers["x-user-id"])
                return
            if message["type"] == "websocket.disconnect":
                return
            if message.get("text") is not None:
                await socket.send_text(message["text"][::-1])
            else:
                await socket.send_bytes(message["bytes"][::-1])
    except WebSocketDisconnect:
        pass


@app.post("/api/v1/files")
async def upload(file: UploadFile, x_user_id: str = Header()):
    digest, size = hashlib.sha256(), 0
    while part := await file.read(1 << 20):
        digest.update(part)
        size += len(part)
    return {"user": x_user_id, "name": file.filename, "size": size, "sha256": digest.hexdigest()}


@app.put("/api/v1/files/{name}")
async def upload_stream(name: str, request: Request):
    """Reads the body as it comes, and answers with the pieces' sum."""
    digest, size = hashlib.sha256(), 0
    async for part in request.stream():
        digest.update(part)
        size += len(part)
    return {"name": name, "size": size, "sha256": digest.hexdigest()}


serve(app, ws_max_size=1 << 24)
