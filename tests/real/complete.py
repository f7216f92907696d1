"""The complete configs, each with what it needs: Redis, an issuer, and stand-ins for the services behind it."""

import contextlib
import secrets

from gateway import Gateway, free_port
from issuer import Issuer
from processes import Process, service

JWT_SECRET = secrets.token_hex(32)
INTERNAL_KEY = secrets.token_hex(32)
MODEL_KEY = f"sk-{secrets.token_hex(24)}"
PASSWORD = secrets.token_hex(8)
CUSTOMERS_KEY = f"hok_live_{secrets.token_hex(24)}"


class Complete:
    """What stands beside the gateways; `start(config)` starts one of them."""

    def __init__(self, folder):
        self._stack = contextlib.ExitStack()
        self._folder = folder
        with contextlib.ExitStack() as undo:
            undo.push(self._stack)
            port = free_port()
            redis = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
            self._stack.enter_context(Process(redis)).says("Ready to accept connections")
            self.redis_port = port
            self.issuer = self._stack.enter_context(Issuer())
            behind = {"PASSWORD": PASSWORD, "CUSTOMERS_KEY": CUSTOMERS_KEY}
            self.stand_in = self._stack.enter_context(service("stand_in.py", env=behind))
            self.second = self._stack.enter_context(service("stand_in.py", env=behind))
            undo.pop_all()

    def start(self, config, **variables):
        """By `deploy/recipes/complete/CONFIG.toml`, behind a load balancer at this very address if it has one."""
        folder = self._folder / config
        folder.mkdir()
        told = self._variables()[config] | variables
        return self._stack.enter_context(Gateway(f"complete/{config}", folder, 0, told))

    def _variables(self):
        issuer = {"ISSUER": self.issuer.name, "JWKS_URL": self.issuer.jwks_url}
        store = {"REDIS_URL": f"redis://127.0.0.1:{self.redis_port}", "GATEWAY_RECORD_KEY": secrets.token_hex(32)}
        balancer = {"GATEWAY__LISTENERS__PUBLIC__TRUSTED_PROXIES": "127.0.0.0/8"}
        up = self.stand_in.url
        return {
            "platform": issuer
            | store
            | balancer
            | {
                "INTERNAL_API_KEY": INTERNAL_KEY,
                "INTERNAL_API_KEY_NEXT": secrets.token_hex(32),
                "LLM_KEY": MODEL_KEY,
                **dict.fromkeys(["CHAT_URL", "TOOLS_URL", "AUTH_URL", "LLM_URL"], up),
            },
            "ml-platform": issuer
            | store
            | balancer
            | {
                "KEY_VALIDATION_URL": f"{up}/api/v1/keys/validate",
                "KEY_MANAGEMENT_URL": f"{up}/api/v1/keys",
                "AUTH_SERVICE_TOKEN": secrets.token_hex(32),
                "AUTH_SERVICE_ADMIN_TOKEN": secrets.token_hex(32),
                **dict.fromkeys(["MLFLOW_URL", "MODELS_URL"], up),
            },
            "vllm-swarm": store
            | {
                "JWT_SECRET_KEY": JWT_SECRET,
                "VLLM_API_KEY": MODEL_KEY,
                "FRONTEND_ORIGIN": "https://chat.example.com",
                **dict.fromkeys(["ORCHESTRATOR_URL", "VLLM_1_URL"], up),
                "VLLM_2_URL": self.second.url,
            },
            "resource-server": issuer | balancer | {"JWT_SECRET_KEY": JWT_SECRET, "API_URL": up},
        }

    def __enter__(self):
        return self

    def __exit__(self, *raised):
        return self._stack.__exit__(*raised)


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def from_client(address):
    """What a load balancer says of whom it serves."""
    return {"X-Forwarded-For": address}
