"""`auth-service.toml`: login, registration and API keys of an auth service behind the gateway."""

import secrets

import httpx
import pytest

TOKEN = secrets.token_hex(32)
PASSWORD = secrets.token_hex(8)


@pytest.fixture(scope="module")
def auth_service(serve):
    return serve("auth_service.py", env={"AUTH_SERVICE_TOKEN": TOKEN})


@pytest.fixture(scope="module")
def gateway(gateway_of, auth_service, serve):
    return gateway_of(
        "auth-service",
        AUTH_SERVICE_URL=auth_service.url,
        AUTH_SERVICE_TOKEN=TOKEN,
        API_URL=serve("echo.py").url,
        # A load balancer, so that callers have addresses.
        GATEWAY__LISTENERS__PUBLIC__TRUSTED_PROXIES="127.0.0.1",
    )


def at(address, headers=None):
    return {"X-Forwarded-For": address} | (headers or {})


def register(gateway, name, address):
    return gateway.client.post("/api/v1/auth/register", json={"name": name, "password": PASSWORD}, headers=at(address))


def login(gateway, name, password, address):
    return gateway.client.post("/api/v1/auth/login", data={"username": name, "password": password}, headers=at(address))


def used(auth_service, path):
    return httpx.get(auth_service.url + "/used", trust_env=False).json().get(path, 0)


@pytest.fixture(scope="module")
def ada(gateway):
    assert register(gateway, "ada", "192.0.2.1").status_code == 201
    answer = login(gateway, "ada", PASSWORD, "192.0.2.1")
    assert answer.status_code == 200, answer.text
    return {"Authorization": "Bearer " + answer.json()["access_token"]}


def told(answer):
    assert answer.status_code == 200, answer.text
    return {name.lower(): value for name, value in answer.json()["headers"]}


def test_its_tokens_open_the_other_services(gateway, ada):
    assert told(gateway.client.get("/api/v1/models/one", headers=at("192.0.2.1", ada)))["x-user-id"] == "ada"
    assert gateway.client.get("/api/v1/models/one", headers=at("192.0.2.1")).status_code == 401


def test_guessing_a_password_ends_after_five_wrong_ones(gateway, auth_service, ada):
    guesses = [login(gateway, "ada", f"guess {n}", "192.0.2.2").status_code for n in range(7)]
    assert guesses == [401] * 5 + [429] * 2
    before = used(auth_service, "/api/v1/auth/login")
    right = login(gateway, "ada", PASSWORD, "192.0.2.2")
    assert right.status_code == 429
    assert 0 < int(right.headers["retry-after"]) <= 60
    assert used(auth_service, "/api/v1/auth/login") == before
    # Others are not held up by it, and right passwords count for nothing.
    assert [login(gateway, "ada", PASSWORD, "192.0.2.3").status_code for _ in range(8)] == [200] * 8


def test_an_address_registers_three_times_an_hour(gateway):
    answers = [register(gateway, f"visitor-{n}", "192.0.2.4") for n in range(4)]
    assert [answer.status_code for answer in answers] == [201, 201, 201, 429]
    assert int(answers[3].headers["retry-after"]) > 60


def test_a_persons_key_opens_the_other_services_and_is_asked_about_once(gateway, auth_service, ada):
    made = gateway.client.post("/api/v1/keys", headers=at("192.0.2.1", ada)).json()
    key = {"X-API-Key": made["key"]}
    before = used(auth_service, "/api/v1/keys/validate")
    for _ in range(5):
        answer = gateway.client.get("/api/v1/models/one", headers=at("192.0.2.1", key))
        assert told(answer)["x-user-id"] == "ada"
    assert used(auth_service, "/api/v1/keys/validate") == before + 1
    assert gateway.access(answer)["key_id"] == made["key_id"]
    # A key makes no key.
    assert gateway.client.post("/api/v1/keys", headers=at("192.0.2.1", key)).status_code == 401


def test_a_withdrawn_key_and_a_strange_one_open_nothing(gateway, auth_service, ada):
    made = gateway.client.post("/api/v1/keys", headers=at("192.0.2.1", ada)).json()
    assert gateway.client.delete(f"/api/v1/keys/{made['key_id']}", headers=at("192.0.2.1", ada)).status_code == 204
    before = used(auth_service, "/api/v1/keys/validate")
    for key, asked in ((made["key"], 1), ("hok_live_" + "x" * 43, 1), ("sk-of-another-kind", 0)):
        answer = gateway.client.get("/api/v1/models/one", headers=at("192.0.2.1", {"X-API-Key": key}))
        assert answer.json()["error"] == "invalid_api_key"
        assert used(auth_service, "/api/v1/keys/validate") == (before := before + asked)


def test_validation_is_not_on_the_public_port(gateway, auth_service):
    before = used(auth_service, "/api/v1/keys/validate")
    asked = {"api_key": "hok_live_x", "service_id": "stranger"}
    answer = gateway.client.post("/api/v1/keys/validate", json=asked, headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 404
    assert used(auth_service, "/api/v1/keys/validate") == before


def test_known_keys_go_on_to_work_while_it_is_away(gateway, auth_service, ada):
    made = gateway.client.post("/api/v1/keys", headers=at("192.0.2.1", ada)).json()
    key = at("192.0.2.1", {"X-API-Key": made["key"]})
    assert gateway.client.get("/api/v1/models/one", headers=key).status_code == 200
    # The last test of this file: it does not come back.
    auth_service.stop()
    assert gateway.client.get("/api/v1/models/one", headers=key).status_code == 200
    assert gateway.client.get("/api/v1/models/one", headers=at("192.0.2.1", ada)).status_code == 200
    strange = gateway.client.get("/api/v1/models/one", headers=at("192.0.2.5", {"X-API-Key": "hok_live_" + "y" * 43}))
    assert (strange.status_code, strange.json()["error"]) == (503, "auth_unavailable")
    assert login(gateway, "ada", PASSWORD, "192.0.2.1").status_code == 503
