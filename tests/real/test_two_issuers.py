"""`two-issuers.toml`: `oidc-provider` for people and Authlib for services, before one API."""

import secrets

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from person import service_token, sign_in

AUDIENCE = "https://api.example.com"
BACK_TO = "http://127.0.0.1:9/back"
SECRET = secrets.token_hex(32)


@pytest.fixture(scope="module")
def people(serve):
    return serve("oidc_provider.mjs", env={"RESOURCE": AUDIENCE, "CLIENT_SECRET": SECRET, "REDIRECT_URI": BACK_TO})


@pytest.fixture(scope="module")
def services(serve):
    return serve("authlib_issuer.py", env={"AUDIENCE": AUDIENCE, "CLIENT_SECRET": SECRET})


@pytest.fixture(scope="module")
def get(gateway_of, people, services, serve):
    addresses = {"PEOPLE_ISSUER": people.url, "SERVICES_ISSUER": services.url, "API_URL": serve("echo.py").url}
    gateway = gateway_of("two-issuers", AUDIENCE=AUDIENCE, **addresses)
    return lambda path, token: gateway.client.get(path, headers={"Authorization": f"Bearer {token}"})


def user(answer):
    assert answer.status_code == 200, answer.text
    return [value for name, value in answer.json()["headers"] if name.lower() == "x-user-id"]


def of_service(services):
    return service_token(services.url, SECRET, "api:read", "ada")


def test_one_name_at_two_issuers_is_two_users(get, people, services):
    person = sign_in(people.url, "ada", "application", BACK_TO, "openid api:read", resource=AUDIENCE)["access_token"]
    assert user(get("/api/x", person)) == ["ada"]
    assert user(get("/api/x", of_service(services))) == ["service:ada"]


def test_a_route_takes_tokens_of_its_issuers_only(get, people, services):
    assert user(get("/batch/x", of_service(services))) == ["service:ada"]
    refused = get("/batch/x", service_token(people.url, SECRET, "api:read"))
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_token")


def test_authlibs_keys_are_rotated_under_it(get, services):
    old = of_service(services)
    assert get("/api/x", old).status_code == 200
    services.says("signs with", since=services.tell("rotate"))
    assert get("/api/x", of_service(services)).status_code == 200
    assert get("/api/x", old).status_code == 200


def test_no_issuer_signs_for_another(get, people, services):
    claims = jwt.decode(of_service(services), options={"verify_signature": False})
    theirs = jwt.get_unverified_header(service_token(people.url, SECRET, "api:read"))["kid"]
    own = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    forged = jwt.encode(claims, own, "RS256", {"kid": theirs})
    assert get("/api/x", forged).status_code == 401
