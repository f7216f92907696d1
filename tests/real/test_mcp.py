"""`mcp.toml`: the MCP Python SDK's own client and server, which know nothing of the gateway between them."""

import asyncio
import contextlib
import secrets

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientMetadata
from mcp_types import ElicitResult

from person import follow

BACK_TO = "http://127.0.0.1:9/back"
SECRET = secrets.token_hex(32)
# The handshake and sessions of 2025, and the stateless protocol of 2026.
MODES = ["legacy", "auto"]


@pytest.fixture(scope="module")
def address(port):
    return f"http://127.0.0.1:{port}/mcp"


@pytest.fixture(scope="module")
def provider(serve, address):
    return serve("oidc_provider.mjs", env={"RESOURCE": address, "CLIENT_SECRET": SECRET, "SCOPES": "mcp:use"})


@pytest.fixture(scope="module")
def gateway(gateway_of, provider, address, port, serve):
    return gateway_of("mcp", port, MCP_URL=address, ISSUER=provider.url, MCP_SERVER_URL=serve("mcp_server.py").url)


class Storage:
    """Keeps what a client was given, as a client's own storage does."""

    def __init__(self):
        self.tokens = self.client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


class Browser:
    """The person at the two moments that need one."""

    def __init__(self, name):
        self.name, self.asked = name, 0

    async def open(self, url):
        self.asked += 1
        self.answer = await asyncio.to_thread(follow, url, self.name, BACK_TO)

    async def come_back(self):
        return AuthorizationCodeResult(**{name: self.answer.get(name) for name in ("code", "state", "iss")})


def signed_in(address, browser, storage):
    """A client that knows the server's address, and nothing else."""
    metadata = OAuthClientMetadata(client_name="test", redirect_uris=[BACK_TO], token_endpoint_auth_method="none")
    return OAuthClientProvider(address, metadata, storage, browser.open, browser.come_back)


@contextlib.asynccontextmanager
async def connected(address, auth, mode, **callbacks):
    timeout = httpx2.Timeout(60, read=120)
    async with httpx2.AsyncClient(auth=auth, timeout=timeout, trust_env=False) as http:
        async with Client(streamable_http_client(address, http_client=http), mode=mode, **callbacks) as client:
            yield client


def text(result):
    assert not result.is_error, result
    return result.content[0].text


@pytest.mark.parametrize("mode", MODES)
def test_a_client_finds_its_way_to_a_token_by_itself(gateway, address, mode):
    async def session():
        browser, storage, steps = Browser("ada"), Storage(), []

        async def progress(step, total, message):
            steps.append((step, total))

        async def answer(context, parameters):
            return ElicitResult(action="accept", content={"name": "Ada"})

        async with connected(
            address, signed_in(address, browser, storage), mode, elicitation_callback=answer
        ) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} == {"whoami", "count", "ask"}
            assert text(await client.call_tool("whoami", {})) == "ada"
            assert text(await client.call_tool("count", {"to": 20}, progress_callback=progress)) == "20"
            if mode == "legacy":  # the newer protocol has no way back to a client
                assert text(await client.call_tool("ask", {})) == "hello Ada"
            assert (await client.read_resource("recipes://mcp")).contents[0].text == "the text of mcp"
        assert steps == [(step, 20) for step in range(1, 21)]
        # It kept its token: the next session needs no person.
        async with connected(address, signed_in(address, browser, storage), mode) as client:
            assert text(await client.call_tool("whoami", {})) == "ada"
        assert browser.asked == 1

    asyncio.run(session())


@pytest.mark.parametrize("mode", MODES)
def test_a_service_comes_without_a_person(gateway, address, provider, mode):
    async def session():
        auth = ClientCredentialsOAuthProvider(
            address, Storage(), "service", SECRET, issuer=provider.url, scope="mcp:use"
        )
        async with connected(address, auth, mode) as client:
            assert text(await client.call_tool("whoami", {})) == "service"

    asyncio.run(session())


def test_many_clients_call_at_once(gateway, address, provider):
    async def session():
        auth = ClientCredentialsOAuthProvider(
            address, Storage(), "service", SECRET, issuer=provider.url, scope="mcp:use"
        )
        async with connected(address, auth, "auto") as client:
            answers = await asyncio.gather(*(client.call_tool("count", {"to": to}) for to in range(1, 17)))
            assert [text(answer) for answer in answers] == [str(to) for to in range(1, 17)]

    asyncio.run(session())


def test_a_refusal_says_where_to_go(gateway, address, provider):
    refused = gateway.client.post("/mcp", json={})
    assert refused.status_code == 401
    metadata = refused.headers["www-authenticate"].partition('resource_metadata="')[2].rstrip('"')
    document = httpx.get(metadata, trust_env=False).json()
    assert (document["resource"], document["authorization_servers"]) == (address, [provider.url])
    assert document["scopes_supported"] == ["mcp:use"]
    # A page learns as much.
    asked = {"Origin": "http://localhost:6274"}
    assert (
        "WWW-Authenticate"
        in gateway.client.post("/mcp", json={}, headers=asked).headers["access-control-expose-headers"]
    )
