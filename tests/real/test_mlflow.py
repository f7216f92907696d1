"""`mlflow.toml`: MLflow's server with its checks of Host and Origin on, its Python client, and its UI in a browser."""

import hashlib
import json
import secrets
import shutil

import httpx
import pytest
from playwright.sync_api import expect, sync_playwright

from complete import CUSTOMERS_KEY, Complete
from gateway import free_port
from issuer import Issuer
from processes import PATIENCE_S, ROOT, Process, python

CLIENTS = ROOT / "tests/real/clients"
TRAINING_KEY = f"hok_live_{secrets.token_hex(24)}"
PUBLIC_NAME = "mlflow.example.com"


@pytest.fixture(scope="module")
def issuer(stack):
    return stack.enter_context(Issuer())


@pytest.fixture(scope="module")
def ports():
    """MLflow's and the gateway's: each is told the other's beforehand."""
    return free_port(), free_port()


@pytest.fixture(scope="module")
def mlflow(start, ports, tmp_path_factory):
    """Says where MLflow serves."""
    own, public = ports
    folder = tmp_path_factory.mktemp("mlflow")
    command = [python("mlflow"), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(own), "--workers", "1"]
    stores = ["--backend-store-uri", "sqlite:///store.db", "--artifacts-destination", str(folder / "artifacts")]
    checks = ["--allowed-hosts", f"127.0.0.1:{own}", "--cors-allowed-origins", f"http://{PUBLIC_NAME}:{public}"]
    start(*command, *stores, "--serve-artifacts", *checks, cwd=folder, env=QUIET).says("Uvicorn running on|startup complete")
    return f"http://127.0.0.1:{own}"


# MLflow tells its makers of each use, and asks git for a version, unless told not to.
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "GIT_PYTHON_REFRESH": "quiet"}


@pytest.fixture(scope="module")
def gateway(gateway_of, mlflow, issuer, ports):
    return gateway_of(
        "mlflow",
        port=ports[1],
        ISSUER=issuer.name,
        JWKS_URL=issuer.jwks_url,
        MLFLOW_URL=mlflow,
        TRAINING_KEY_SHA256=hashlib.sha256(TRAINING_KEY.encode()).hexdigest(),
    )


def person(issuer, user="ada"):
    return issuer.token(user, "mlflow", scope="mlflow:access")


def runs(script, *arguments, uri, env):
    """Runs one of `clients` with MLflow's own variables, and returns what it says."""
    command = [python("mlflow"), CLIENTS / script, *arguments]
    with Process(command, env=QUIET | {"MLFLOW_TRACKING_URI": uri} | env) as process:
        return json.loads(process.says(r'^(\{.*\})$')[1])


@pytest.mark.parametrize(
    ("credential", "prefix"), [("an API key", ""), ("a token", "/mlflow"), ("a password", "/mlflow")]
)
def test_a_training_script_knows_of_no_gateway(gateway, issuer, tmp_path, credential, prefix):
    env = {
        "an API key": {"MLFLOW_TRACKING_TOKEN": TRAINING_KEY},
        "a token": {"MLFLOW_TRACKING_TOKEN": person(issuer)},
        "a password": {"MLFLOW_TRACKING_USERNAME": "any", "MLFLOW_TRACKING_PASSWORD": TRAINING_KEY},
    }[credential]
    experiment = f"{credential}{prefix}".replace(" ", "-").replace("/", "-below-")
    said = runs("mlflow_training.py", experiment, str(tmp_path), uri=gateway.url + prefix, env=env)
    assert said["losses"] == 20 and said["found"] == 1
    assert said["notes"] == "grew well\n"
    assert said["predicted"] == [2.0, 5.0] and said["versions"] == ["1"]


def test_a_training_script_comes_with_a_hosted_key_through_a_load_balancer(stack, mlflow, tmp_path, tmp_path_factory):
    """By `complete/ml-platform.toml`: the key is known to an auth service only."""
    beside = stack.enter_context(Complete(tmp_path_factory.mktemp("complete")))
    gateway = beside.start("ml-platform", MLFLOW_URL=mlflow)
    env = {"MLFLOW_TRACKING_TOKEN": CUSTOMERS_KEY}
    said = runs("mlflow_training.py", "hosted", str(tmp_path), uri=f"{gateway.url}/mlflow", env=env)
    assert said["predicted"] == [2.0, 5.0]
    assert gateway.metric('gateway_api_key_validations_total{source="remote",status="success"}') == 1


def test_500_mib_go_up_and_come_back_as_they_were(gateway, tmp_path):
    env = {"MLFLOW_TRACKING_TOKEN": TRAINING_KEY}
    said = runs("mlflow_big_artifact.py", "500", str(tmp_path), uri=gateway.url, env=env)
    print(said)
    assert said["same"] and said["bytes"] == 500 << 20


def test_mlflows_own_checks_are_on(gateway, mlflow, issuer, ports):
    """Of Host at its own door; of Origin through the gateway too, which tells it who asks."""
    search = "/api/2.0/mlflow/experiments/search"
    direct = httpx.post(mlflow + search, json={"max_results": 1}, headers={"Host": "evil.example"}, trust_env=False)
    assert (direct.status_code, "Invalid Host" in direct.text) == (403, True)
    token = {"Authorization": f"Bearer {person(issuer)}"}
    for origin, status in [(f"http://{PUBLIC_NAME}:{ports[1]}", 200), ("https://evil.example", 403)]:
        answer = gateway.client.post(search, json={"max_results": 1}, headers=token | {"Origin": origin})
        assert answer.status_code == status, answer.text
    assert "Cross-origin" in answer.text


def test_nobody_is_let_in_without_the_scope(gateway, issuer):
    assert gateway.client.get("/").status_code == 401
    assert gateway.client.get("/health").status_code == 401
    stranger = issuer.token("eve", "mlflow", scope="mail:read")
    assert gateway.client.get("/", headers={"Authorization": f"Bearer {stranger}"}).status_code == 403


@pytest.fixture(scope="module")
def browser():
    """Chromium, which finds MLflow's public name at this machine."""
    with sync_playwright() as playwright:
        names = f"--host-resolver-rules=MAP {PUBLIC_NAME} 127.0.0.1"
        with playwright.chromium.launch(executable_path=shutil.which("chromium"), args=[names]) as browser:
            yield browser


def grow(client, name, headers):
    """An experiment with one run that has one artifact; returns their ids."""

    def ask(method, path, **body):
        answer = client.request(method, path, headers=headers, **body)
        assert answer.status_code == 200, answer.text
        return answer.json() if answer.content else None

    experiment = ask("POST", "/api/2.0/mlflow/experiments/create", json={"name": name})["experiment_id"]
    about = {"experiment_id": experiment, "run_name": "first try"}
    run = ask("POST", "/api/2.0/mlflow/runs/create", json=about)["run"]["info"]["run_id"]
    ask("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/notes.txt", content=b"grew well\n")
    return experiment, run


@pytest.mark.parametrize("prefix", ["", "/mlflow"])
def test_a_person_opens_an_experiment_renames_a_run_and_downloads_an_artifact(gateway, issuer, ports, browser, prefix):
    name = f"garden{prefix.replace('/', '-')}"
    experiment, run = grow(gateway.client, name, {"Authorization": f"Bearer {person(issuer)}"})
    public = f"http://{PUBLIC_NAME}:{ports[1]}"
    context = browser.new_context(accept_downloads=True)
    cookie = {"name": "access_token", "value": person(issuer), "url": public, "httpOnly": True, "sameSite": "Lax"}
    context.add_cookies([cookie])
    page = context.new_page()
    page.set_default_timeout(PATIENCE_S * 1000)
    expect.set_options(timeout=PATIENCE_S * 1000)
    failed = []
    page.on("response", lambda answer: answer.status >= 400 and failed.append((answer.status, answer.url)))

    page.goto(f"{public}{prefix}/#/experiments")
    page.get_by_role("link", name=name, exact=True).click()
    page.wait_for_url(f"**/experiments/{experiment}/**")

    page.goto(f"{public}{prefix}/#/experiments/{experiment}/runs/{run}")
    page.get_by_label("Open header dropdown menu").click()
    page.get_by_role("menuitem", name="Rename").click()
    page.get_by_test_id("rename-modal-input").fill("second try")
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="second try")).to_be_visible()

    page.goto(f"{public}{prefix}/#/experiments/{experiment}/runs/{run}/artifacts/notes.txt")
    expect(page.get_by_text("grew well")).to_be_visible()
    with page.expect_download() as download:
        page.locator('button[data-component-id*="artifactview"]').click()
    assert download.value.path().read_text() == "grew well\n"

    # MLflow without accounts has nobody to tell of there.
    assert {url.rpartition("/")[2] for _, url in failed} <= {"current"}, failed
    context.close()


def test_a_page_elsewhere_can_not_act_for_a_person(gateway, issuer):
    """The browser would send the cookie along; the gateway takes it for what changes something from MLflow's own page only."""
    cookie = {"Cookie": f"access_token={person(issuer)}"}
    body = {"max_results": 1}
    search = "/ajax-api/2.0/mlflow/experiments/search"
    own = {"Origin": gateway.url}
    assert gateway.client.post(search, json=body, headers=cookie | own).status_code == 200
    for origin in [{"Origin": "https://evil.example"}, {}]:
        assert gateway.client.post(search, json=body, headers=cookie | origin).status_code == 401
