"""A person with a browser: follows redirects, keeps cookies, signs in and consents by the forms of `oidc-provider`."""

import base64
import hashlib
import re
import secrets
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import httpx

ACTION = re.compile(r'<form[^>]* action="([^"]+)"')
PROMPT = re.compile(r'name="prompt" value="([^"]+)"')


def follow(url, name, back_to):
    """Opens `url`, signs in as `name`, agrees to all; returns the query that it brings `back_to` the application."""
    with httpx.Client(trust_env=False, timeout=60) as browser:
        answer = browser.get(url)
        for _ in range(20):
            while answer.is_redirect:
                url = urljoin(str(answer.url), answer.headers["location"])
                if url.startswith(back_to):
                    return {key: values[0] for key, values in parse_qs(urlsplit(url).query).items()}
                answer = browser.get(url)
            assert answer.status_code == 200, answer.text
            form = {"prompt": PROMPT.search(answer.text)[1]}
            if form["prompt"] == "login":
                form |= {"login": name, "password": "any"}
            answer = browser.post(urljoin(str(answer.url), ACTION.search(answer.text)[1]), data=form)
    raise AssertionError(f"still at {answer.url}")


def sign_in(issuer, name, client_id, back_to, scope, **more):
    """An authorization code with PKCE (RFC 7636), exchanged; returns the provider's answer."""
    metadata = found_of(issuer)
    verifier = secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    asked = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": back_to,
        "scope": scope,
        "state": secrets.token_urlsafe(8),
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        **more,
    }
    sent_back = follow(f"{metadata['authorization_endpoint']}?{urlencode(asked)}", name, back_to)
    assert sent_back["state"] == asked["state"] and "code" in sent_back, sent_back
    form = {
        "grant_type": "authorization_code",
        "code": sent_back["code"],
        "client_id": client_id,
        "redirect_uri": back_to,
        "code_verifier": verifier,
    }
    answer = httpx.post(metadata["token_endpoint"], data=form, trust_env=False, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def service_token(issuer, secret, scope, client_id="service", **more):
    """An access token by client credentials."""
    metadata = found_of(issuer)
    form = {"grant_type": "client_credentials", "scope": scope, **more}
    answer = httpx.post(metadata["token_endpoint"], data=form, auth=(client_id, secret), trust_env=False, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()["access_token"]


def found_of(issuer):
    """Its metadata: OpenID Connect Discovery, or RFC 8414."""
    for name in ("openid-configuration", "oauth-authorization-server"):
        answer = httpx.get(f"{issuer}/.well-known/{name}", trust_env=False, timeout=60)
        if answer.status_code == 200:
            return answer.json()
    raise AssertionError(f"{issuer} has no metadata")
