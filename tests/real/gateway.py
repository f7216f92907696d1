"""The built binary on a recipe as it stands: only addresses and secrets come from outside, through its environment."""

import json
import os
import socket

import httpx

from processes import ROOT, Process, eventually

RECIPES = ROOT / "deploy/recipes"

# Whatever a test sends as a credential begins so, or is given to the gateway by a variable that holds a secret.
TOKENS_BEGIN = "eyJ"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def recipe_command(recipe, *arguments):
    """`gateway ARGUMENTS` with the config of this recipe."""
    return [os.environ["GATEWAY_BINARY"], "--config", RECIPES / f"{recipe}.toml", *arguments]


class Gateway(Process):
    """Serves by `deploy/recipes/RECIPE.toml`, whose listener is `public`; `url` says where, `client` asks there."""

    def __init__(self, recipe, folder, port, variables):
        self.secrets = [value for name, value in variables.items() if is_secret(name)]
        env = {
            "GATEWAY__LISTENERS__PUBLIC__ADDRESS": f"127.0.0.1:{port}",
            "GATEWAY__ADMIN__ADDRESS": "127.0.0.1:0",
            "GATEWAY__SERVER__TAKEOVER_SOCKET": str(folder / "takeover.sock"),
            **variables,
        }
        super().__init__(recipe_command(recipe, "run"), env)
        self.admin = "http://" + self.event("admin listening")["address"]
        self.address = self.event("listening")["address"]
        self.url = f"http://{self.address}"
        self.client = httpx.Client(base_url=self.url, timeout=60, trust_env=False)
        eventually(f"{recipe} is ready", lambda: self.ask_admin("/readyz").status_code == 200)

    def ask_admin(self, path):
        return httpx.get(self.admin + path, timeout=60, trust_env=False)

    def event(self, message, **fields):
        """Waits for a line of the log with this message and these fields."""

        def found(line):
            event = json.loads(line) if line.startswith("{") else {}
            return event if event.get("message") == message and fields.items() <= event.items() else None

        return self.wait_for(f"{message} {fields}", found)

    def access(self, response):
        """Waits for the access line of this answer."""
        return self.event("request", request_id=response.headers["x-request-id"])

    def metric(self, series):
        """The value of `name{label="value",…}`, labels sorted; 0 if it is not there."""
        lines = self.ask_admin("/metrics").text.splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(series + " ")), 0.0)

    def __exit__(self, *raised):
        self.client.close()
        code = self.stop()
        text = "\n".join(self.lines)
        if raised[0] is None:
            assert code == 0, f"exit code {code}:\n{text[-4000:]}"
            assert TOKENS_BEGIN not in text, "a token stands in the log"
            assert not any(secret in text for secret in self.secrets), "a secret stands in the log"


def is_secret(variable):
    return variable.endswith(("_KEY", "_SECRET", "_PASSWORD", "_TOKEN"))
