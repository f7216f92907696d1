"""`hs256.toml`: a FastAPI service that judges HS256 tokens with PyJWT. Gateway and service agree on every token."""

import base64
import itertools
import json
import secrets
import time

import httpx
import jwt
import pytest

SECRET = secrets.token_hex(32)
METHODS = [("GET", "/tasks"), ("POST", "/tasks"), ("DELETE", "/tasks/7")]
CALLERS = [
    {"roles": ["admin"]},
    {"roles": ["user"]},
    {"roles": ["viewer"]},
    {"roles": ["stranger"]},
    {"roles": ["viewer", "user"]},
    {"permissions": ["tasks.delete"]},
    {"permissions": ["*"]},
    {"roles": ["viewer"], "permissions": ["tasks.create"]},
    {},
]


@pytest.fixture(scope="module")
def tasks(serve):
    service = serve("tasks.py", env={"JWT_SECRET_KEY": SECRET})
    with httpx.Client(base_url=service.url, trust_env=False, timeout=60) as client:
        service.client = client
        yield service


@pytest.fixture(scope="module")
def gateway(gateway_of, tasks):
    return gateway_of("hs256", JWT_SECRET_KEY=SECRET, TASKS_URL=tasks.url)


def claims(**more):
    now = int(time.time())
    return {"iss": "tasks-auth", "aud": "tasks", "sub": "ada", "type": "access", "iat": now, "exp": now + 600} | more


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("caller", CALLERS, ids=json.dumps)
def test_gateway_and_service_give_one_answer(gateway, tasks, caller):
    headers = bearer(jwt.encode(claims(**caller), SECRET, "HS256"))
    for method, path in METHODS:
        alone = tasks.client.request(method, path, headers=headers).status_code
        through = gateway.client.request(method, path, headers=headers)
        assert through.status_code == alone, (method, through.text)
        if alone == 200:
            assert through.json()["user"] == "ada"
        else:
            assert through.json()["error"] == "permission_denied"


def forged():
    now = int(time.time())
    good = jwt.encode(claims(roles=["admin"]), SECRET, "HS256")
    head, body, signature = good.split(".")
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    return {
        "another secret": jwt.encode(claims(), "x" * 32, "HS256"),
        "another algorithm": jwt.encode(claims(), SECRET, "HS512"),
        "no signature": f"{unsigned}.{body}.",
        "a changed signature": f"{head}.{body}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}",
        "a refresh token": jwt.encode(claims(type="refresh"), SECRET, "HS256"),
        "expired": jwt.encode(claims(iat=now - 900, exp=now - 300), SECRET, "HS256"),
        "no token": "x",
    }


@pytest.mark.parametrize("name", forged())
def test_what_the_service_would_refuse_does_not_reach_it(gateway, tasks, name):
    headers = bearer(forged()[name])
    before = tasks.client.get("/seen").json()
    answers = [gateway.client.request(method, path, headers=headers) for method, path in METHODS]
    assert {answer.status_code for answer in answers} == {401}
    assert answers[0].headers["www-authenticate"].startswith("Bearer ")
    assert tasks.client.get("/seen").json() == before
    assert tasks.client.get("/tasks", headers=headers).status_code == 401


def test_methods_that_no_rule_knows_are_refused(gateway):
    answer = gateway.client.put("/tasks/7", headers=bearer(jwt.encode(claims(roles=["admin"]), SECRET, "HS256")))
    assert answer.status_code == 405
    assert set(itertools.chain(answer.headers["allow"].replace(" ", "").split(","))) >= {"GET", "POST", "DELETE"}
