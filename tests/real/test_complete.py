"""`deploy/recipes/complete/`: each config is started as it stands, and asked what its comments promise."""

import base64
import hmac
import json
import subprocess

import httpx
import pytest
from websockets.sync.client import connect

from complete import CUSTOMERS_KEY, INTERNAL_KEY, JWT_SECRET, MODEL_KEY, PASSWORD, Complete, bearer, from_client
from issuer import claims_of, shared_secret_token
from processes import eventually


@pytest.fixture(scope="module")
def beside(stack, tmp_path_factory):
    return stack.enter_context(Complete(tmp_path_factory.mktemp("complete")))


@pytest.fixture(scope="module")
def platform(beside):
    return beside.start("platform")


@pytest.fixture(scope="module")
def ml_platform(beside):
    return beside.start("ml-platform")


@pytest.fixture(scope="module")
def swarm(beside):
    return beside.start("vllm-swarm")


@pytest.fixture(scope="module")
def resource_server(beside):
    return beside.start("resource-server")


def told(answer):
    """The headers that reached the upstream."""
    assert answer.status_code == 200, answer.text
    return {name.lower(): value for name, value in answer.json()["headers"].items()}


def test_a_platform_that_moves_takes_either_credential_and_says_who_would_be_refused(platform, beside):
    token = beside.issuer.token("ada", "codelab-api", roles=["user"], tenant_id="acme")
    headers = told(platform.client.get("/api/v1/chat/rooms", headers=bearer(token)))
    assert (headers["x-user-id"], headers["x-auth-method"]) == ("ada", "jwt")
    old = platform.client.get("/api/v1/chat/rooms", headers={"X-Internal-Auth": INTERNAL_KEY, "X-User-ID": "ada"})
    assert (told(old)["x-user-id"], told(old)["x-auth-method"]) == ("ada", "internal")
    assert platform.access(old)["shadow"] == "would_deny"
    both = platform.client.get("/api/v1/chat/rooms", headers=bearer("not.a.token") | {"X-Internal-Auth": INTERNAL_KEY})
    assert (both.status_code, both.json()["error"]) == (401, "invalid_token")
    moved = platform.client.get("/api/v1/jobs/1", headers={"X-Internal-Auth": INTERNAL_KEY})
    assert moved.status_code == 401


def test_a_secret_from_the_internet_is_nobodys(platform):
    far = platform.client.get(
        "/api/v1/chat/rooms", headers={"X-Internal-Auth": INTERNAL_KEY} | from_client("203.0.113.7")
    )
    assert (far.status_code, far.json()["error"]) == (401, "invalid_internal_auth")


def test_a_browsers_websocket_brings_its_token_as_a_protocol(platform, beside):
    token = beside.issuer.token("ada", "codelab-api", roles=["user"])
    url = platform.url.replace("http", "ws") + "/ws/chat/lobby"
    with connect(url, subprotocols=["chat", "bearer", token], proxy=None) as socket:
        assert socket.subprotocol == "chat"
        first = socket.recv(timeout=60)
        assert '"user":"ada"' in first.replace(" ", "") and token not in first
        socket.send("hello")
        assert socket.recv(timeout=60) == "hello"


def test_the_model_gets_its_own_key_and_never_the_callers(platform, beside):
    token = beside.issuer.token("ada", "codelab-api", roles=["user"])
    answer = platform.client.post("/v1/chat/completions", json={"messages": []}, headers=bearer(token))
    assert answer.json()["choices"][0]["message"]["content"] == f"Bearer {MODEL_KEY}"
    line = platform.access(answer)
    assert (line["input_tokens"], line["output_tokens"]) == (7, 5)


def test_the_sixth_wrong_password_is_not_even_looked_at(platform):
    def sign_in(password, address):
        form = {"grant_type": "password", "username": "ada", "password": password}
        return platform.client.post("/auth/token", data=form, headers=from_client(address)).status_code

    assert [sign_in("wrong", "198.51.100.1") for _ in range(6)] == [400] * 5 + [429]
    assert sign_in(PASSWORD, "198.51.100.1") == 429
    # Right ones are not counted, and another address is another.
    assert [sign_in(PASSWORD, "198.51.100.2") for _ in range(8)] == [200] * 8


def test_a_hosted_key_is_asked_for_once_and_comes_in_every_way(ml_platform):
    ways = [
        {"headers": {"X-API-Key": CUSTOMERS_KEY}},
        {"headers": bearer(CUSTOMERS_KEY)},
        {"auth": ("any", CUSTOMERS_KEY)},
    ]
    for way in ways:
        headers = told(ml_platform.client.get("/mlflow/api/2.0/mlflow/runs/get", **way))
        assert (headers["x-user-id"], headers["x-tenant-id"]) == ("customer-7", "acme")
        assert not {"authorization", "x-api-key"} & headers.keys()
    validations = 'gateway_api_key_validations_total{source="%s",status="success"}'
    assert ml_platform.metric(validations % "remote") == 1
    assert ml_platform.metric(validations % "cache") == 2


def test_a_scope_is_for_reading_or_for_writing(ml_platform):
    key = {"X-API-Key": CUSTOMERS_KEY}
    assert ml_platform.client.get("/api/v1/models/7", headers=key).status_code == 200
    assert ml_platform.client.post("/api/v1/models/7/predict", headers=key).status_code == 200
    refused = ml_platform.client.delete("/api/v1/models/7", headers=key)
    assert (refused.status_code, refused.json()["error"]) == (403, "insufficient_scope")


def test_a_wrong_key_and_a_foreign_one_are_refused(ml_platform):
    wrong = ml_platform.client.get("/api/v1/models/7", headers={"X-API-Key": "hok_live_of-nobody"})
    assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_api_key")
    foreign = ml_platform.client.get("/api/v1/models/7", headers={"X-API-Key": "sk-of-somebody"})
    assert (foreign.status_code, foreign.json()["error"]) == (401, "invalid_api_key")


def test_who_guesses_keys_behind_the_load_balancer_is_stopped_alone(ml_platform):
    def guess(number, address):
        headers = {"X-API-Key": f"hok_live_guess-{number}"} | from_client(address)
        return ml_platform.client.get("/api/v1/models/7", headers=headers).status_code

    # 30 a minute, and on a slow machine one more every two seconds.
    guesses = [guess(number, "198.51.100.9") for number in range(60)]
    assert guesses[:30] == [401] * 30 and 429 in guesses[30:]
    assert guess(0, "198.51.100.10") == 401


def test_tokens_without_issuer_open_what_their_roles_may(swarm):
    user, operator = (shared_secret_token(role, JWT_SECRET, roles=[role]) for role in ["user", "operator"])
    answer = swarm.client.post("/v1/chat/completions", json={"messages": []}, headers=bearer(user))
    assert answer.json()["choices"][0]["message"]["content"] == f"Bearer {MODEL_KEY}"
    assert swarm.client.get("/api/workers/1", headers=bearer(user)).json()["error"] == "permission_denied"
    assert told(swarm.client.get("/api/workers/1", headers=bearer(operator)))["x-user-roles"] == "operator"
    assert swarm.client.delete("/api/workers/1", headers=bearer(operator)).status_code == 403
    foreign = shared_secret_token("user", "x" * 64, roles=["admin"])
    assert swarm.client.get("/v1/models", headers=bearer(foreign)).json()["error"] == "invalid_token"


def test_who_logged_out_stays_out(swarm, beside):
    token = shared_secret_token("grace", JWT_SECRET, roles=["user"])
    assert swarm.client.get("/v1/models", headers=bearer(token)).status_code == 200
    redis = ["redis-cli", "-p", str(beside.redis_port), "setex", f"blacklist:{token}", "600", "1"]
    subprocess.run(redis, check=True, stdout=subprocess.DEVNULL)
    refused = eventually(
        "the token is refused",
        lambda: (answer := swarm.client.get("/v1/models", headers=bearer(token))).status_code == 401 and answer,
    )
    assert refused.json()["error"] == "token_revoked"


def test_login_and_registration_have_limits_of_their_own(swarm):
    form = {"username": "ada", "password": PASSWORD}
    logins = [swarm.client.post("/auth/login", data=form).status_code for _ in range(6)]
    assert logins == [200] * 5 + [429]
    registrations = [swarm.client.post("/auth/register", json={"name": "ada"}).status_code for _ in range(4)]
    assert registrations == [201] * 3 + [429]


def test_the_frontends_page_may_read_answers_and_no_other(swarm):
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    for origin, allowed in [("https://chat.example.com", "https://chat.example.com"), ("https://evil.example", None)]:
        answer = swarm.client.options("/v1/chat/completions", headers={"Origin": origin} | asked)
        assert answer.status_code == 204
        assert answer.headers.get("access-control-allow-origin") == allowed


def test_both_kinds_of_token_pass_while_a_resource_server_moves(resource_server, beside):
    about = {"aud": "tasks-api", "iss": beside.issuer.name, "roles": ["member"], "org_id": "acme"}
    old = shared_secret_token("ada", JWT_SECRET, **about)
    new = beside.issuer.token("ada", "tasks-api", roles=["member"], org_id="acme")
    for token in [old, new]:
        assert told(resource_server.client.get("/tasks/1", headers=bearer(token)))["x-user-id"] == "ada"
        assert resource_server.client.post("/tasks", headers=bearer(token)).status_code == 200
        assert resource_server.client.delete("/tasks/1", headers=bearer(token)).json()["error"] == "permission_denied"
        assert resource_server.client.get("/orgs/acme/tasks", headers=bearer(token)).status_code == 200
        assert resource_server.client.get("/orgs/other/tasks", headers=bearer(token)).status_code == 403
    assert resource_server.client.get("/health").status_code == 200


def test_a_public_key_is_no_shared_secret(resource_server, beside):
    key = httpx.get(beside.issuer.jwks_url, trust_env=False).content
    about = claims_of("ada") | {"aud": "tasks-api", "iss": beside.issuer.name, "roles": ["admin"]}
    head, body = (part(json.dumps(told).encode()) for told in [{"alg": "HS256", "kid": "first"}, about])
    forged = f"{head}.{body}.{part(hmac.digest(key, f'{head}.{body}'.encode(), 'sha256'))}"
    assert resource_server.client.get("/tasks/1", headers=bearer(forged)).json()["error"] == "invalid_token"


def part(of):
    """Of a token."""
    return base64.urlsafe_b64encode(of).rstrip(b"=").decode()
