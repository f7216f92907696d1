"""An MCP server by the Python SDK, over streamable HTTP. It knows of tokens nothing: who calls is in `X-User-ID`."""

from mcp.server.mcpserver import Context, MCPServer
from pydantic import BaseModel
from serving import serve

server = MCPServer("recipes")


class Answer(BaseModel):
    name: str


@server.tool()
def whoami(context: Context) -> str:
    """Who the gateway says is calling."""
    return context.headers["x-user-id"]


@server.tool()
async def count(to: int, context: Context) -> int:
    """Counts, and reports each step."""
    for step in range(1, to + 1):
        await context.report_progress(step, to)
    return to


@server.tool()
async def ask(context: Context) -> str:
    """Asks the client back while the call is under way."""
    answer = await context.elicit("Your name?", Answer)
    return f"hello {answer.data.name}"


@server.resource("recipes://{name}")
def recipe(name: str) -> str:
    return f"the text of {name}"


serve(server.streamable_http_app())
