"""A service that judges HS256 tokens by itself with PyJWT: roles, permissions, and 401s and 403s of its own."""

import os
from typing import Annotated

import jwt
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from serving import serve

ROLES = {"admin": {"*"}, "user": {"tasks.create", "tasks.read"}, "viewer": {"tasks.read"}}

app = FastAPI()
# What reached it, so that a test can tell who refused.
seen = []


def current_user(given: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]):
    seen.append(1)
    try:
        claims = jwt.decode(
            given.credentials, os.environ["JWT_SECRET_KEY"], ["HS256"], audience="tasks", issuer="tasks-auth"
        )
    except (AttributeError, jwt.InvalidTokenError) as error:
        raise HTTPException(401, "Could not validate credentials") from error
    if claims.get("type") != "access":
        raise HTTPException(401, "Wrong token type")
    return claims


def permission(needed):
    def check(user: Annotated[dict, Depends(current_user)]):
        granted = set(user.get("permissions", [])).union(*(ROLES.get(role, set()) for role in user.get("roles", [])))
        if needed not in granted and "*" not in granted:
            raise HTTPException(403, f"Permission {needed} required")
        return user["sub"]

    return Depends(check)


@app.get("/tasks")
def read(user: Annotated[str, permission("tasks.read")]):
    return {"user": user}


@app.post("/tasks")
def create(user: Annotated[str, permission("tasks.create")]):
    return {"user": user}


@app.delete("/tasks/{task}")
def delete(task: str, user: Annotated[str, permission("tasks.delete")]):
    return {"user": user, "task": task}


@app.get("/seen")
def count():
    return len(seen)


serve(app)
