"""Signs the tokens of the comparison. Runs as a program of its own, in the virtual environment that has PyJWT:

    tokens.py DIR COUNT

writes to DIR a fresh RS256 key as `jwks.json` and `public.pem` (the private half is never written), COUNT distinct tokens of 1,000 users
as `fresh.txt`, one a line, and `tokens.json`: the repeated token, what it says, and tokens that every proxy must refuse. All are
800 characters long. Signing takes about 1 ms a token and core.
"""

import json
import sys
import time
from functools import partial
from multiprocessing import Pool
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PAYLOAD = 298  # bytes; with this header and an RS256 signature they make a token of 800 characters
USERS = 1000
YEAR = 365 * 24 * 3600
ISSUER = "https://auth.bench.example"
AUDIENCE = "bench-api"
TENANT = "acme"


def main():
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    now = int(time.time())
    key, stranger = new_key(), new_key()

    public = key.public_key()
    (folder / "public.pem").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    jwk = {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(public)), "kid": "bench-1", "use": "sig", "alg": "RS256"}
    (folder / "jwks.json").write_text(json.dumps({"keys": [jwk]}))

    # The key reaches the pool's processes by fork: it is pickled nowhere.
    global sign_fresh
    sign_fresh = partial(sign, key, now)
    with Pool() as pool, (folder / "fresh.txt").open("w") as lines:
        for token in pool.imap(fresh, range(count), chunksize=200):
            lines.write(token + "\n")

    # Written last: its presence says that all the rest is whole.
    (folder / "tokens.json").write_text(json.dumps({
        "count": count,
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "repeated": sign(key, now, "repeated", "user-0007"),
        "user": "user-0007",
        "tenant": TENANT,
        "refused": {
            "signed by another key": sign(stranger, now, "forged", "user-0007"),
            "expired": sign(key, now, "expired", "user-0007", iat=now - 7200, exp=now - 3600),
            "for another audience": sign(key, now, "elsewhere", "user-0007", aud="another-api"),
            "of another issuer": sign(key, now, "foreign", "user-0007", iss="https://auth.other.example"),
        },
    }, indent=1))


def new_key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def fresh(number):
    return sign_fresh(f"fresh-{number}", f"user-{number % USERS:04}")


def sign(key, now, jti, user, **others):
    """A token as an identity provider makes it, padded to its length by a claim that nobody reads."""
    claims = {
        "iss": ISSUER, "sub": user, "aud": AUDIENCE, "tenant_id": TENANT, "type": "access", "scope": "chat:read chat:write",
        "iat": now, "exp": now + 10 * YEAR, "jti": jti, **others, "pad": "",
    }
    claims["pad"] = "x" * (PAYLOAD - len(json.dumps(claims, separators=(",", ":"))))
    return jwt.encode(claims, key, "RS256", {"kid": "bench-1"})


if __name__ == "__main__":
    main()
