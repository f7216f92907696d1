"""`internal-auth.toml`: an unchanged FastAPI service with an `InternalAuthMiddleware`."""

import secrets

import httpx
import pytest

from person import service_token
from processes import eventually

AUDIENCE = "https://api.example.com"
CLIENT_SECRET, INTERNAL_KEY = secrets.token_hex(32), secrets.token_hex(32)
PATH = "/api/v1/conversations"
# Who comes through the load balancer from the internet.
AFAR = {"X-Forwarded-For": "203.0.113.9"}
SECRET = {"X-Internal-Auth": INTERNAL_KEY}


@pytest.fixture(scope="module")
def provider(serve):
    return serve("oidc_provider.mjs", env={"RESOURCE": AUDIENCE, "CLIENT_SECRET": CLIENT_SECRET})


@pytest.fixture(scope="module")
def legacy(serve):
    return serve("legacy_internal.py", env={"INTERNAL_API_KEY": INTERNAL_KEY})


@pytest.fixture(scope="module")
def gateway(gateway_of, provider, legacy):
    return gateway_of(
        "internal-auth",
        ISSUER=provider.url,
        AUDIENCE=AUDIENCE,
        SERVICE_URL=legacy.url,
        INTERNAL_API_KEY=INTERNAL_KEY,
        GATEWAY__LISTENERS__PUBLIC__TRUSTED_PROXIES="127.0.0.1",
    )


@pytest.fixture(scope="module")
def person(provider):
    return {"Authorization": "Bearer " + service_token(provider.url, CLIENT_SECRET, "api:read")}


def test_people_with_tokens_reach_a_service_that_knows_the_secret_only(gateway, legacy, person):
    assert httpx.get(legacy.url + PATH, headers=person, trust_env=False).status_code == 401
    answer = gateway.client.get(PATH, headers=person | {"X-User-ID": "root"})
    assert answer.json() == {"user": "service", "users": ["service"]}


def test_services_go_on_to_act_for_users(gateway):
    assert gateway.client.get(PATH, headers=SECRET).json()["user"] == "system"
    assert gateway.client.get(PATH, headers=SECRET | {"X-User-ID": "ada"}).json() == {"user": "ada", "users": ["ada"]}


def test_the_secret_opens_nothing_from_afar(gateway, person):
    for stolen in (SECRET, SECRET | {"X-User-ID": "ada"}, {"X_Internal_Auth": INTERNAL_KEY}):
        assert gateway.client.get(PATH, headers=AFAR | stolen).status_code == 401
    # Beside a token it is nothing: the caller is who the token says.
    answer = gateway.client.get(PATH, headers=AFAR | SECRET | person | {"X-User-ID": "ada"})
    assert answer.json()["users"] == ["service"]


def test_a_wrong_secret_and_two_secrets_reach_nobody(gateway):
    assert (
        gateway.client.get(PATH, headers={"X-Internal-Auth": INTERNAL_KEY[:-1]}).json()["error"]
        == "invalid_internal_auth"
    )
    twice = [("X-Internal-Auth", INTERNAL_KEY), ("X-Internal-Auth", "other")]
    assert gateway.client.get(PATH, headers=twice).status_code == 400


def test_the_shadow_counts_who_still_needs_the_secret(gateway, person):
    series = (
        'gateway_shadow_decisions_total{difference="would_deny",enforced="allow",route="api",shadow="unauthorized"}'
    )
    before = gateway.metric(series)
    gateway.client.get(PATH, headers=person)
    assert gateway.metric(series) == before
    gateway.client.get(PATH, headers=SECRET)
    eventually("it is counted", lambda: gateway.metric(series) == before + 1)
