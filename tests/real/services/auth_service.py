"""An auth service as platforms have: people register and log in (the password grant's form), get RS256 tokens, and make
API keys, which other services may have validated. It keeps all in memory, and counts how often each door was used."""

import collections
import hashlib
import hmac
import json
import os
import secrets
import time
from typing import Annotated

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi import Body, Depends, FastAPI, Form, Header, HTTPException, Request
from jwt.algorithms import RSAAlgorithm
from serving import serve

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
KID = secrets.token_hex(8)
ISSUER, AUDIENCE = "https://auth.example.com", "platform"

app = FastAPI()
users, keys, used = {}, {}, collections.Counter()


@app.middleware("http")
async def count(request: Request, call_next):
    used[request.url.path] += 1
    return await call_next(request)


def hashed(password, salt):
    return hashlib.scrypt(password.encode(), salt=salt, n=1 << 10, r=8, p=1)


@app.post("/api/v1/auth/register", status_code=201)
def register(name: Annotated[str, Body()], password: Annotated[str, Body()]):
    if name in users:
        raise HTTPException(409, "Username taken")
    salt = secrets.token_bytes(16)
    users[name] = (salt, hashed(password, salt))
    return {"user_id": name}


@app.post("/api/v1/auth/login")
def login(username: Annotated[str, Form()], password: Annotated[str, Form()]):
    salt, known = users.get(username, (b"", b""))
    if not hmac.compare_digest(hashed(password, salt), known):
        raise HTTPException(401, "Incorrect username or password", {"WWW-Authenticate": "Bearer"})
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": username,
        "type": "access",
        "roles": ["user"],
        "iat": now,
        "exp": now + 900,
    }
    return {"access_token": jwt.encode(claims, KEY, "RS256", {"kid": KID}), "token_type": "bearer", "expires_in": 900}


@app.get("/.well-known/jwks.json")
def jwks():
    public = json.loads(RSAAlgorithm.to_jwk(KEY.public_key()))
    return {"keys": [public | {"kid": KID, "use": "sig", "alg": "RS256"}]}


def caller(x_user_id: Annotated[str, Header()]):
    """The gateway has proven who calls; this service listens to it only."""
    return x_user_id


@app.post("/api/v1/keys", status_code=201)
def make_key(user: Annotated[str, Depends(caller)]):
    key, key_id = "hok_live_" + secrets.token_urlsafe(32), secrets.token_hex(8)
    keys[key_id] = {"digest": hashlib.sha256(key.encode()).hexdigest(), "user": user}
    return {"key": key, "key_id": key_id}


@app.delete("/api/v1/keys/{key_id}", status_code=204)
def revoke_key(key_id: str, user: Annotated[str, Depends(caller)]):
    if keys.get(key_id, {}).get("user") != user:
        raise HTTPException(404, "No such key")
    del keys[key_id]


@app.post("/api/v1/keys/validate")
def validate(
    api_key: Annotated[str, Body()], service_id: Annotated[str, Body()], authorization: Annotated[str, Header()] = ""
):
    if not hmac.compare_digest(authorization, "Bearer " + os.environ["AUTH_SERVICE_TOKEN"]):
        raise HTTPException(401, "Not a service of ours")
    digest = hashlib.sha256(api_key.encode()).hexdigest()
    for key_id, key in keys.items():
        if hmac.compare_digest(digest, key["digest"]):
            return {
                "valid": True,
                "user_id": key["user"],
                "key_id": key_id,
                "permissions": ["models.read"],
                "service": service_id,
            }
    return {"valid": False, "error": "Unknown key"}


@app.get("/used")
def counted():
    return used


serve(app)
