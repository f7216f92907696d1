"""An authorization server of Authlib on Flask: client credentials, access tokens by RFC 9068, metadata by RFC 8414.

`rotate` on standard input signs with a new key from then on, and publishes the old ones too.
"""

import logging
import os
import sys
import threading

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, grants
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from flask import Flask, jsonify
from joserfc.jwk import KeySet, RSAKey
from werkzeug.serving import make_server

AUDIENCE, SECRET = os.environ["AUDIENCE"], os.environ["CLIENT_SECRET"]


def signing_key():
    return RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True)


class Service(ClientMixin):
    """The only client; its id is also a person's at the other issuer."""

    def get_client_id(self):
        return "ada"

    def get_allowed_scope(self, scope):
        return scope

    def check_client_secret(self, secret):
        return secret == SECRET

    def check_endpoint_auth_method(self, method, endpoint):
        return method == "client_secret_basic"

    def check_grant_type(self, grant_type):
        return grant_type == "client_credentials"


class Tokens(JWTBearerTokenGenerator):
    def get_jwks(self):
        return KeySet(keys[:1])

    def get_audiences(self, client, user, scope):
        return AUDIENCE


keys = [signing_key()]
app = Flask(__name__)
oauth = AuthorizationServer(app, lambda name: Service() if name == "ada" else None, lambda token, request: None)
oauth.register_grant(grants.ClientCredentialsGrant)
serving = make_server("127.0.0.1", 0, app, threaded=True)
issuer = f"http://127.0.0.1:{serving.port}"
oauth.register_token_generator("default", Tokens(issuer, expires_generator=lambda client, grant: 600))


@app.get("/.well-known/oauth-authorization-server")
def metadata():
    return jsonify(issuer=issuer, token_endpoint=f"{issuer}/token", jwks_uri=f"{issuer}/jwks")


@app.get("/jwks")
def jwks():
    return KeySet(keys).as_dict(private=False)


@app.post("/token")
def token():
    return oauth.create_token_response()


def listen():
    for _ in sys.stdin:
        keys.insert(0, signing_key())
        print("signs with", keys[0].kid, flush=True)


logging.getLogger("werkzeug").setLevel(logging.ERROR)
threading.Thread(target=listen, daemon=True).start()
print(f"listening on {serving.port}", flush=True)
serving.serve_forever()
