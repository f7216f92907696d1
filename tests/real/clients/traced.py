"""GETs a URL within a span of OpenTelemetry's SDK, by its own propagator, and says what the span was."""

import json
import sys
import urllib.request

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

with TracerProvider().get_tracer("client").start_as_current_span("asks") as span:
    headers = {}
    TraceContextTextMapPropagator().inject(headers)
    request = urllib.request.Request(sys.argv[1], headers=headers)
    body = urllib.request.urlopen(request, timeout=60).read().decode()
context = span.get_span_context()
print(json.dumps({"trace": f"{context.trace_id:032x}", "span": f"{context.span_id:016x}", "body": body}))
