"""`oidc-provider.toml`: an API behind npm's `oidc-provider`."""

import secrets

import pytest

from person import service_token, sign_in
from processes import eventually

AUDIENCE = "https://api.example.com"
BACK_TO = "http://127.0.0.1:9/back"
SECRET = secrets.token_hex(32)


@pytest.fixture(scope="module")
def provider(serve):
    return serve("oidc_provider.mjs", env={"RESOURCE": AUDIENCE, "CLIENT_SECRET": SECRET, "REDIRECT_URI": BACK_TO})


@pytest.fixture(scope="module")
def gateway(gateway_of, provider, serve):
    return gateway_of("oidc-provider", ISSUER=provider.url, AUDIENCE=AUDIENCE, API_URL=serve("echo.py").url)


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def told(answer):
    """The headers that reached the upstream, names in lower case."""
    assert answer.status_code == 200, answer.text
    return {name.lower(): value for name, value in answer.json()["headers"]}


def test_a_service_comes_with_client_credentials(gateway, provider):
    token = service_token(provider.url, SECRET, "api:read api:write")
    headers = told(
        gateway.client.post("/api/things", headers=bearer(token) | {"X-User-ID": "root", "X_Client_ID": "root"})
    )
    assert headers["x-user-id"] == headers["x-client-id"] == "service"
    assert set(headers["x-scopes"].split()) == {"api:read", "api:write"}
    assert headers["authorization"] == f"Bearer {token}"
    assert "x_client_id" not in headers


def test_a_person_comes_with_an_authorization_code(gateway, provider):
    tokens = sign_in(provider.url, "ada", "application", BACK_TO, "openid api:read", resource=AUDIENCE)
    answer = gateway.client.get("/api/things", headers=bearer(tokens["access_token"]))
    headers = told(answer)
    assert (headers["x-user-id"], headers["x-client-id"]) == ("ada", "application")
    assert headers["x-user-email"] == "ada@example.com"
    assert gateway.access(answer)["user_id"] == "ada"
    refused = gateway.client.post("/api/things", headers=bearer(tokens["access_token"]))
    assert refused.status_code == 403
    assert 'error="insufficient_scope", scope="api:write"' in refused.headers["www-authenticate"]


def test_what_the_same_keys_sign_for_others_opens_nothing(gateway, provider):
    for_application = sign_in(provider.url, "ada", "application", BACK_TO, "openid api:read", resource=AUDIENCE)[
        "id_token"
    ]
    for_another_api = service_token(provider.url, SECRET, "api:read", resource="https://other.example.com")
    for token in (for_application, for_another_api):
        refused = gateway.client.get("/api/things", headers=bearer(token))
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_token")
        assert gateway.access(refused)["detail"] in ("wrong_audience", "claim_mismatch")


def test_keys_are_rotated_under_it(gateway, provider):
    def sign(change):
        provider.says("signs with", since=provider.tell(change))
        return service_token(provider.url, SECRET, "api:read")

    def status(token):
        return gateway.client.get("/api/things", headers=bearer(token)).status_code

    first = service_token(provider.url, SECRET, "api:read")
    assert status(first) == 200
    second = sign("rotate")
    # Its key id is unknown, and fetched while the request waits. The first key is published still.
    assert status(second) == 200
    assert status(first) == 200
    assert gateway.metric('jwks_keys{issuer="provider"}') == 2
    sign("rotate")
    third = sign("retire")
    # Strangers buy one fetch in ten seconds at most.
    eventually("the third key is known", lambda: status(third) == 200)
    assert (status(first), status(second)) == (401, 401)
