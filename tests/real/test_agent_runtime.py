"""`agent-runtime.toml`: an agent runtime on FastAPI and uvicorn, asked by httpx and `websockets`."""

import hashlib
import json
import secrets
import socket
import statistics
import time

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from person import service_token
from processes import eventually

AUDIENCE = "https://agents.example.com"
SECRET = secrets.token_hex(32)
KEY = "agt_live_" + secrets.token_urlsafe(32)
SCOPE = "agents:use"


@pytest.fixture(scope="module")
def token(serve):
    provider = serve("oidc_provider.mjs", env={"RESOURCE": AUDIENCE, "CLIENT_SECRET": SECRET, "SCOPES": SCOPE})
    return provider.url, service_token(provider.url, SECRET, SCOPE)


@pytest.fixture(scope="module")
def runtime(serve):
    return serve("agent_runtime.py")


@pytest.fixture(scope="module")
def gateway(gateway_of, token, runtime):
    return gateway_of(
        "agent-runtime",
        ISSUER=token[0],
        AUDIENCE=AUDIENCE,
        AGENT_RUNTIME_URL=runtime.url,
        JOB_KEY_SHA256=hashlib.sha256(KEY.encode()).hexdigest(),
    )


@pytest.fixture(scope="module")
def person(token):
    return {"Authorization": f"Bearer {token[1]}"}


JOB = {"X-API-Key": KEY}


def test_people_and_jobs_chat_and_nobody_else(gateway, person):
    def chat(headers):
        return gateway.client.post("/api/v1/chat", json={"text": "olleh"}, headers=headers)

    assert chat(person | {"X-User-ID": "root"}).json() == {"user": "service", "answer": "hello"}
    assert chat(JOB).json() == {"user": "svc_nightly", "answer": "hello"}
    assert chat({}).status_code == 401
    assert chat({"X-API-Key": "agt_live_guess"}).json()["error"] == "invalid_api_key"
    assert gateway.client.get("/health").json() == {"status": "ok"}


def test_its_own_refusals_come_through_as_they_are(gateway, person):
    answer = gateway.client.post("/api/v1/chat", json={"nothing": 1}, headers=person)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "text"]


def test_the_first_event_comes_before_the_second_is_made(gateway, person):
    sent = {"text": "one two", "conversation": "ordering"}
    with gateway.client.stream("POST", "/api/v1/chat/stream", json=sent, headers=person) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = (line.removeprefix("data: ") for line in answer.iter_lines() if line)
        assert json.loads(next(events))["user"] == "service"
        # The second waits for this.
        assert gateway.client.post("/api/v1/chat/ordering/release", headers=JOB).status_code == 200
        assert list(events) == ['{"word": "one"}', '{"word": "two"}', "[DONE]"]


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
def test_the_runtime_is_told_when_nobody_listens_any_more(gateway, person, http2):
    def heard():
        return gateway.client.get("/api/v1/chat/heard", headers=JOB).json()

    sent = {"text": "one two", "conversation": "left alone"}
    with (
        httpx.Client(base_url=gateway.url, http1=not http2, http2=http2, trust_env=False, timeout=60) as leaving,
        leaving.stream("POST", "/api/v1/chat/stream", json=sent, headers=person) as answer,
    ):
        next(answer.iter_lines())
        assert heard() == ["left alone"]
    eventually("it stops", lambda: heard() == [])


def test_a_stream_begins_as_soon_as_the_runtime_began_it(gateway, runtime, capsys):
    asked = [(runtime.url, {"X-User-ID": "service"}), (gateway.url, JOB)]
    delays = {url: [] for url, _ in asked}
    # Fewer than the recipe lets one address ask at once.
    for _ in range(80):
        for url, headers in asked:
            delays[url].append(first_event_delay_ns(url, headers))
    direct, through = (statistics.median(delays[url]) / 1e6 for url, _ in asked)
    with capsys.disabled():
        print(f" [first event, medians: {direct:.2f} ms directly, {through:.2f} ms through the gateway] ", end="")
    # The goal is 2 ms, where nothing else runs. A busy machine is no reason to fail; a gateway that holds streams back is.
    assert through - direct < 50


def first_event_delay_ns(url, headers):
    """From when the runtime made its first event to when it was read here."""
    host, port = url.removeprefix("http://").split(":")
    body = json.dumps({"text": ""})
    lines = [
        "POST /api/v1/chat/stream HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
        read = b""
        while b"\n\n" not in read.replace(b"\r\n", b"|"):
            part = connection.recv(65536)
            assert part, read
            read += part
            arrived = time.monotonic_ns()
        made = int(read.partition(b'"sent_ns": ')[2].partition(b"}")[0])
        while connection.recv(65536):
            pass
    return arrived - made


def test_a_websocket_carries_both_ways_and_its_close(gateway, person):
    with connect(socket_url(gateway), additional_headers=person, max_size=1 << 24) as chat:
        assert json.loads(chat.recv())["user"] == "service"
        large = secrets.token_bytes(8 << 20)
        for message, answer in (("abc", "cba"), (large, large[::-1]), ("", "")):
            chat.send(message)
            assert chat.recv() == answer
        assert chat.ping().wait(60)
        chat.send("bye")
        with pytest.raises(ConnectionClosed) as closed:
            chat.recv()
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4000, "bye service")


def test_a_browsers_websocket_brings_its_token_as_a_subprotocol(gateway, token):
    with connect(
        socket_url(gateway), subprotocols=["chat", "bearer", token[1]], origin="https://app.example.com"
    ) as chat:
        hello = json.loads(chat.recv())
        assert hello["user"] == "service"
        assert chat.subprotocol == "chat"
        assert token[1] not in hello["offered"]


def test_a_websocket_without_a_credential_is_refused_before_it_opens(gateway):
    with pytest.raises(InvalidStatus) as refused:
        connect(socket_url(gateway))
    assert refused.value.response.status_code == 401


def socket_url(gateway):
    return gateway.url.replace("http", "ws") + "/api/v1/ws"


def test_uploads_arrive_whole(gateway, person):
    content = secrets.token_bytes(1 << 20) * 64
    digest = hashlib.sha256(content).hexdigest()
    form = gateway.client.post("/api/v1/files", files={"file": ("model.bin", content)}, headers=person)
    assert form.json() == {"user": "service", "name": "model.bin", "size": len(content), "sha256": digest}
    pieces = (content[begin : begin + (1 << 18)] for begin in range(0, len(content), 1 << 18))
    chunked = gateway.client.put("/api/v1/files/model.bin", content=pieces, headers=person)
    assert chunked.json() == {"name": "model.bin", "size": len(content), "sha256": digest}


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
def test_uploads_that_are_refused_are_told_so(gateway, person, chunked):
    """Not by a connection that breaks while the client still sends."""
    piece = bytes(1 << 20)

    def post(path, headers):
        content = (piece for _ in range(64)) if chunked else piece * 64
        return gateway.client.post(path, content=content, headers=headers | {"Content-Type": "application/json"})

    for path, headers, status in (
        ("/api/v1/files", {}, 401),
        ("/api/v1/files", {"X-API-Key": "agt_live_guess"}, 401),
        ("/api/v1/nowhere", person, 404),
        ("/api/v1/chat", person, 413),
    ):
        assert post(path, headers).status_code == status, path


def test_its_redirects_lead_back_to_the_gateway(gateway, person):
    answer = gateway.client.post("/api/v1/chat/", json={"text": "olleh"}, headers=person)
    assert (answer.status_code, answer.headers["location"]) == (307, gateway.url + "/api/v1/chat")


def test_a_browser_elsewhere_may_read_answers_and_refusals(gateway):
    origin = {"Origin": "https://app.example.com"}
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    assert gateway.client.options("/api/v1/chat", headers=origin | asks).status_code == 204
    refused = gateway.client.post("/api/v1/chat", headers=origin)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, origin["Origin"])


def test_http2_clients_are_served_alike(gateway, person):
    with httpx.Client(http1=False, http2=True, trust_env=False, timeout=60) as client:
        answer = client.post(gateway.url + "/api/v1/chat", json={"text": "olleh"}, headers=person)
    assert (answer.http_version, answer.json()["answer"]) == ("HTTP/2", "hello")
