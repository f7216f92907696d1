"""Serves an ASGI application on a free port of loopback, and says which, as `service` of `processes.py` waits for."""

import asyncio

import uvicorn


def serve(app, **options):
    asyncio.run(_serve(app, options))


async def _serve(app, options):
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", **options)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    if server.started:
        print(f"listening on {server.servers[0].sockets[0].getsockname()[1]}", flush=True)
    await serving
