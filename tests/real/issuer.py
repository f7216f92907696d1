"""An issuer whose keys tests hold: it serves its key set on a port of its own, and signs what a test wants to say."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

KEY_ID = "first"


class Issuer:
    def __init__(self):
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        document = json.dumps({"keys": [{**public, "kid": KEY_ID, "alg": "RS256", "use": "sig"}]}).encode()

        class KeySet(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(document)))
                self.end_headers()
                self.wfile.write(document)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), KeySet)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.name = f"http://127.0.0.1:{self._server.server_port}"
        self.jwks_url = f"{self.name}/jwks.json"

    def token(self, user, audience, **claims):
        """An access token that holds for ten minutes, unless the claims say otherwise."""
        told = claims_of(user) | {"iss": self.name, "aud": audience} | claims
        return jwt.encode(told, self._key, "RS256", headers={"kid": KEY_ID})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def shared_secret_token(user, secret, **claims):
    """The same, signed with a secret that services share, and by nobody in particular."""
    return jwt.encode(claims_of(user) | claims, secret, "HS256")


def claims_of(user):
    now = int(time.time())
    return {"sub": user, "type": "access", "iat": now, "exp": now + 600}
