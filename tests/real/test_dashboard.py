"""`deploy/grafana/gateway.json` asked of a real Prometheus, which scrapes gateways that use every feature: no query is without data."""

import json
import math
import re

import httpx
import pytest

from complete import CUSTOMERS_KEY, INTERNAL_KEY, Complete, bearer, from_client
from gateway import free_port
from processes import ROOT, eventually

PROMETHEUS = ROOT / "deploy/prometheus"

# What Grafana puts in for its variables.
VARIABLES = {"$__rate_interval": "5m", "$route": ".*"}


@pytest.fixture(scope="module")
def beside(stack, tmp_path_factory):
    return stack.enter_context(Complete(tmp_path_factory.mktemp("complete")))


@pytest.fixture(scope="module")
def gateways(beside):
    return beside.start("platform"), beside.start("ml-platform")


@pytest.fixture(scope="module")
def prometheus(start, gateways, tmp_path_factory):
    """The shipped file with our addresses, and in a hurry. `ask(query)` returns the values."""
    text = (PROMETHEUS / "prometheus.yml").read_text()
    targets = ", ".join(f'"{gateway.admin.removeprefix("http://")}"' for gateway in gateways)
    text, replaced = re.subn(r"(?m)^    dns_sd_configs:\n.*$", f"    static_configs: [{{ targets: [{targets}] }}]", text)
    assert replaced == 1, text
    text = re.sub(r"_interval: 15s", "_interval: 1s", text)
    folder = tmp_path_factory.mktemp("prometheus")
    for rules in PROMETHEUS.glob("*.yml"):
        (folder / rules.name).write_text(rules.read_text())
    (folder / "prometheus.yml").write_text(text)
    port = free_port()
    stored = f"--storage.tsdb.path={folder / 'data'}"
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", stored]
    start(*command, f"--web.listen-address=127.0.0.1:{port}").says("Server is ready")

    def ask(query):
        url = f"http://127.0.0.1:{port}/api/v1/query"
        answer = httpx.get(url, params={"query": query}, trust_env=False, timeout=60).json()
        assert answer["status"] == "success", f"{query}: {answer}"
        return [float(series["value"][1]) for series in answer["data"]["result"]]

    return ask


def traffic(beside, platform, ml_platform):
    """Something of everything, once."""
    token = beside.issuer.token("ada", "codelab-api", roles=["user"], tenant_id="acme")
    secret = {"X-Internal-Auth": INTERNAL_KEY}
    model = {"messages": [{"role": "user", "content": "hello"}]}
    ask = platform.client.request
    ask("GET", "/api/v1/chat/rooms", headers=bearer(token))
    ask("GET", "/api/v1/chat/rooms", headers=secret)
    ask("GET", "/api/v1/chat/rooms")
    ask("GET", "/api/v1/chat/rooms", headers=bearer(token + "x") | secret)
    ask("GET", "/api/v1/tools/x", headers=bearer(token))
    ask("GET", "/api/v1/tools/x", headers=bearer(beside.issuer.token("eve", "codelab-api")))
    for caller in range(10):
        who = beside.issuer.token(f"caller-{caller}", "codelab-api", roles=["user"], tenant_id="acme")
        ask("GET", "/api/v1/tools/x", headers=bearer(who))
    ask("POST", "/v1/chat/completions", headers=bearer(token), json=model)
    ask("GET", "/nowhere")
    for _ in range(7):
        ask("POST", "/auth/token", data={"username": "ada", "password": "wrong"}, headers=from_client("198.51.100.1"))
    ml_platform.client.get("/api/v1/models/7", headers={"X-API-Key": CUSTOMERS_KEY})
    ml_platform.client.get("/api/v1/models/7", headers={"X-API-Key": "hok_live_of-nobody"})


def queries():
    dashboard = json.loads((ROOT / "deploy/grafana/gateway.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"]
            for variable, value in VARIABLES.items():
                query = query.replace(variable, value)
            yield panel["title"], query


def test_no_query_of_the_dashboard_is_without_data(prometheus, gateways, beside):
    asked = list(queries())
    assert len(asked) > 30
    assert not [query for _, query in asked if "$" in query.replace("${1}", "")], "a variable that this test does not know"

    def without_data():
        traffic(beside, *gateways)
        empty = [asked_for for asked_for in asked if not any(map(math.isfinite, prometheus(asked_for[1])))]
        return empty

    last = []

    def all_have_data():
        last[:] = without_data()
        return not last

    try:
        eventually("every query has data", all_have_data)
    except AssertionError as late:
        raise AssertionError("\n".join(f"{title}: {query}" for title, query in last)) from late


def test_the_older_names_are_recorded(prometheus, gateways, beside):
    names = re.findall(r"- record: (\S+)", (PROMETHEUS / "older_names.yml").read_text())
    assert len(names) >= 6

    def missing():
        traffic(beside, *gateways)
        return [name for name in names if not prometheus(name)]

    eventually("the older names have data", lambda: not missing())


def test_no_alert_fires_for_gateways_that_are_well(prometheus):
    assert prometheus('ALERTS{alertstate="firing", severity="page"}') == []
