"""The files of `deploy/` as their own readers read them: Compose, hadolint, Helm and Kubernetes' schemas. No container is started."""

import json
import secrets
import subprocess

import pytest

from gateway import free_port, recipe_command
from processes import ROOT, eventually, python

TOOLS = python("tools").parent
CHART = "deploy/helm/gateway"


def run(*command, env=None, code=0):
    done = subprocess.run([str(part) for part in command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def compose(env):
    # Its Python package gives no exit code on.
    return run(TOOLS / "docker-compose", "-f", "deploy/compose.yaml", "config", "--format", "json", env=env)


@pytest.fixture(scope="module")
def composed():
    """What Compose makes of its file."""
    return json.loads(compose({name: secrets.token_hex(32) for name in SECRETS}))["services"]


SECRETS = ["INTERNAL_API_KEY", "LLM_PROXY_KEY", "GATEWAY_RECORD_KEY"]


def test_compose_starts_nothing_without_its_secrets():
    for missing in SECRETS:
        said = compose({name: "x" for name in SECRETS if name != missing})
        assert f"required variable {missing} is missing" in said


def test_no_container_of_compose_may_more_than_it_needs(composed):
    for name, service in composed.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name


def test_two_gateways_with_composes_own_environment_serve_and_share(composed, start, serve, gateway_of):
    told = composed["gateway"]
    assert told["deploy"]["replicas"] == 2 and told["read_only"]
    port = free_port()
    start("redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "").says("Ready to accept connections")
    # As told, but for what is elsewhere here.
    elsewhere = {
        "REDIS_URL": f"redis://127.0.0.1:{port}",
        "AGENT_RUNTIME_URL": serve("echo.py").url,
        "JWKS_URL": "http://127.0.0.1:9/jwks.json",
        "GATEWAY__ADMIN__ADDRESS": "127.0.0.1:0",
    }
    own = {name: value for name, value in told["environment"].items() if name != "GATEWAY__SERVER__TAKEOVER_SOCKET"}
    one, other = (gateway_of("../compose", **(own | elsewhere)) for _ in range(2))
    secret = {"X-Internal-Auth": own["INTERNAL_API_KEY"], "X-User-ID": "ada"}
    for gateway in [one, other]:
        assert gateway.client.get("/api/v1/chat/rooms", headers=secret).status_code == 200
    # A mode that is set at one is the other's too.
    env = own | elsewhere
    run(*recipe_command("../compose", "mode", "chat", "jwt", "--shared"), env=env)
    for gateway in [one, other]:
        ask = gateway.client.get
        eventually("the mode is in force", lambda: ask("/api/v1/chat/rooms", headers=secret).status_code == 401)


def test_the_images_own_health_check_asks_the_gateway(gateway_of, serve):
    """As the Dockerfile has it: by the binary, which reads the same config and environment."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert 'CMD ["/usr/local/bin/gateway", "health"]' in dockerfile and ":nonroot" in dockerfile
    env = {"API_URL": serve("echo.py").url, "JWT_SECRET_KEY": secrets.token_hex(32), "JWKS_URL": "http://127.0.0.1:9/jwks"}
    gateway = gateway_of("complete/resource-server", **env)
    env |= {"GATEWAY__ADMIN__ADDRESS": gateway.admin.removeprefix("http://")}
    run(*recipe_command("complete/resource-server", "health"), env=env)
    run(*recipe_command("complete/resource-server", "health"), env=env | {"GATEWAY__ADMIN__ADDRESS": "127.0.0.1:9"}, code=1)


def test_hadolint_has_nothing_to_say_of_the_dockerfile():
    assert run(TOOLS / "hadolint", "Dockerfile") == ""


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"autoscaling": {"enabled": False}, "networkPolicy": {"enabled": False}},
        {
            "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
            "env": {"LOG_FORMAT": "text"},
            "envFromSecrets": ["gateway-secrets"],
            "imagePullSecrets": [{"name": "registry"}],
            "service": {"type": "LoadBalancer", "annotations": {"example.com/scheme": "internal"}},
            "nodeSelector": {"kubernetes.io/arch": "amd64"},
            "tolerations": [{"key": "edge", "operator": "Exists"}],
            "affinity": {"podAntiAffinity": {}},
        },
    ],
    ids=["as it is", "bare", "with everything"],
)
def test_the_chart_is_what_kubernetes_takes(values, tmp_path):
    said = json.loads(run(TOOLS / "python", "tests/real/clients/chart.py", CHART, json.dumps(values)))
    assert said["wrong"] == []
    objects = {(found["kind"], found["metadata"]["name"]): found for found in said["objects"]}
    kinds = {kind for kind, _ in objects}
    assert kinds >= {"Deployment", "Service", "ConfigMap", "PodDisruptionBudget"}
    assert ("HorizontalPodAutoscaler" in kinds) is (values.get("autoscaling") is None)
    assert ("ServiceMonitor" in kinds) is ("serviceMonitor" in values)
    container = objects["Deployment", "demo-gateway"]["spec"]["template"]["spec"]["containers"][0]
    probes = [container[f"{probe}Probe"]["httpGet"]["path"] for probe in ["startup", "liveness", "readiness"]]
    assert probes == ["/livez", "/livez", "/readyz"]
    # The config that it brings holds.
    config = tmp_path / "gateway.toml"
    config.write_text(objects["ConfigMap", "demo-gateway"]["data"]["gateway.toml"])
    run(recipe_command("mlflow")[0], "--config", config, "check", "--audit", env={})


def test_systemd_takes_the_units_and_finds_them_closed(tmp_path):
    # It looks for the binary where the unit says that it is.
    service = (ROOT / "deploy/systemd/gateway.service").read_text()
    (tmp_path / "gateway.service").write_text(service.replace("/usr/local/bin/gateway", recipe_command("mlflow")[0]))
    (tmp_path / "gateway.socket").write_text((ROOT / "deploy/systemd/gateway.socket").read_text())
    units = [tmp_path / "gateway.service", tmp_path / "gateway.socket"]
    assert run("systemd-analyze", "verify", *units) == ""
    # Exposure, of 100.
    run("systemd-analyze", "security", "--offline=true", "--threshold=20", units[0])
