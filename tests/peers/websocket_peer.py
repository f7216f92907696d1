"""WebSockets and plain HTTP through the gateway to uvicorn: prints the server's port, reads the gateway's address, then talks.

Exits 0 if all came out as it should.
"""

import asyncio
import sys

import uvicorn
import websockets


async def app(scope, receive, send):
    if scope["type"] == "http":
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"1"), (b"x-a", b"2")]})
        await send({"type": "http.response.body", "body": scope["method"].encode() + b" " + body})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept", "subprotocol": "chat"})
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("text") == "bye":
                return await send({"type": "websocket.close", "code": 4001, "reason": "as you say"})
            await send({"type": "websocket.send", "bytes": message.get("bytes"), "text": message.get("text")})


async def main():
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off", ws_max_size=1 << 24))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    address = (await asyncio.to_thread(sys.stdin.readline)).strip()
    async with websockets.connect(f"ws://{address}/socket", subprotocols=["chat"], max_size=1 << 24) as socket:
        assert socket.subprotocol == "chat"
        for message in ("text \u00fc", b"\x00\xff" * 4_000_000, ""):
            await socket.send(message)
            assert await socket.recv() == message
        await socket.send("bye")
        try:
            await socket.recv()
            raise AssertionError("not closed")
        except websockets.ConnectionClosed as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (4001, "as you say"), closed
    server.should_exit = True
    await serving
    print("all as it should be", flush=True)


asyncio.run(main())
