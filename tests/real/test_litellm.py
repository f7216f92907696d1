"""`litellm.toml`: LiteLLM's proxy, asked by the OpenAI SDK, which knows of no gateway."""

import hashlib
import secrets

import openai
import pytest

from issuer import Issuer
from processes import SERVICES, eventually, python

LITELLM_KEY = f"sk-{secrets.token_hex(24)}"
BATCH_KEY = f"hok_live_{secrets.token_hex(24)}"
SENTENCE = "The gateway is not here."
QUESTION = [{"role": "user", "content": "Is there a gateway?"}]


@pytest.fixture(scope="module")
def litellm(start, port):
    """Says where the proxy serves."""
    env = {
        "LITELLM_KEY": LITELLM_KEY,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",      # else it asks the network for prices
    }
    command = [python("litellm").parent / "litellm", "--config", SERVICES / "litellm.yaml", "--host", "127.0.0.1"]
    start(*command, "--port", str(port), env=env).says("Uvicorn running on")
    return f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def issuer(stack):
    return stack.enter_context(Issuer())


@pytest.fixture(scope="module")
def gateway(gateway_of, litellm, issuer):
    return gateway_of(
        "litellm",
        ISSUER=issuer.name,
        JWKS_URL=issuer.jwks_url,
        LITELLM_URL=litellm,
        LITELLM_KEY=LITELLM_KEY,
        BATCH_KEY_SHA256=hashlib.sha256(BATCH_KEY.encode()).hexdigest(),
        MODELS_THINK_FOR="5s",
    )


def sdk(base, key, **more):
    return openai.OpenAI(base_url=f"{base}/v1", api_key=key, **{"max_retries": 0, "timeout": 60, **more})


@pytest.fixture(params=["an API key", "a token"])
def client(request, gateway, issuer):
    key = BATCH_KEY if request.param == "an API key" else issuer.token("ada", "llm", scope="llm:access")
    return sdk(gateway.url, key)


def test_a_plain_answer_is_what_litellm_says_itself(client, litellm):
    there = sdk(litellm, LITELLM_KEY).chat.completions.create(model="small", messages=QUESTION)
    here = client.chat.completions.create(model="small", messages=QUESTION)
    assert here.choices == there.choices and here.choices[0].message.content == SENTENCE
    assert here.usage == there.usage


def test_a_stream_comes_in_pieces_and_costs_what_it_says(client, gateway):
    series = 'gateway_llm_tokens_total{kind="output",route="llm"}'
    before = gateway.metric(series)
    pieces, usage = [], None
    stream = client.chat.completions.create(
        model="small", messages=QUESTION, stream=True, stream_options={"include_usage": True}
    )
    for chunk in stream:
        usage = chunk.usage or usage
        pieces += [choice.delta.content for choice in chunk.choices if choice.delta.content]
    assert "".join(pieces) == SENTENCE and len(pieces) > 1
    eventually("the stream is counted", lambda: gateway.metric(series) == before + usage.completion_tokens)


def test_embeddings_come_back_as_numbers(client):
    answer = client.embeddings.create(model="embedder", input=["one", "two"])
    assert answer.data[0].embedding == [0.25, -0.5, 1.0]


def test_the_models_are_listed(client):
    assert {model.id for model in client.models.list()} == {"small", "embedder", "busy", "slow"}


def test_errors_of_the_model_are_the_sdks_own(client):
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="busy", messages=QUESTION)
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model="unheard-of", messages=QUESTION)
    assert "unheard-of" in raised.value.message


def test_refusals_of_the_gateway_are_the_sdks_own_errors(gateway, issuer):
    with pytest.raises(openai.AuthenticationError) as raised:
        sdk(gateway.url, "hok_live_wrong").models.list()
    assert raised.value.response.json()["error"] == "invalid_api_key"
    with pytest.raises(openai.PermissionDeniedError):
        sdk(gateway.url, issuer.token("eve", "llm", scope="mail:read")).models.list()
    with pytest.raises(openai.AuthenticationError):
        sdk(gateway.url, LITELLM_KEY).models.list()


def test_a_model_that_thinks_too_long_is_a_timeout(client, gateway):
    with pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model="slow", messages=QUESTION)
    assert raised.value.status_code == 504
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=1).chat.completions.create(model="slow", messages=QUESTION)
    # Whoever leaves is let go, there too.
    idle = 'gateway_upstream_in_flight{upstream="litellm"}'
    eventually("nothing is in flight", lambda: gateway.metric(idle) == 0)


def test_no_client_brings_a_key_of_its_own(gateway):
    for header in ["X-LiteLLM-API-Key", "API-Key", "x-goog-api-key", "Ocp-Apim-Subscription-Key"]:
        client = sdk(gateway.url, BATCH_KEY, default_headers={header: "sk-of-somebody-else"})
        assert client.chat.completions.create(model="small", messages=QUESTION).choices[0].message.content == SENTENCE
