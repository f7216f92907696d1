"""gRPC through the gateway, both ends by grpcio: prints the server's port, reads the gateway's address, then calls every kind of method.

Exits 0 if all came out as it should.
"""

import sys
import time
from concurrent import futures

import grpc


def handlers():
    def unary(request, context):
        metadata = dict(context.invocation_metadata())
        context.set_trailing_metadata((("x-seen", metadata.get("x-said", "-")), ("x-user", metadata.get("x-user-id", "-"))))
        if request == b"abort":
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not so, and 50% \u00fc")
        if request == b"sleep":
            time.sleep(5)
        return b"echo " + request

    def to_client(request, context):
        for place in range(int(request)):
            yield b"%d" % place

    def from_client(requests, context):
        return b"%d" % sum(len(request) for request in requests)

    def both_ways(requests, context):
        for request in requests:
            yield request.upper()

    return grpc.method_handlers_generic_handler(
        "test.Echo",
        {
            "Unary": grpc.unary_unary_rpc_method_handler(unary),
            "ToClient": grpc.unary_stream_rpc_method_handler(to_client),
            "FromClient": grpc.stream_unary_rpc_method_handler(from_client),
            "BothWays": grpc.stream_stream_rpc_method_handler(both_ways),
        },
    )


def code_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def main():
    server = grpc.server(futures.ThreadPoolExecutor(16))
    server.add_generic_rpc_handlers((handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    address = sys.stdin.readline().strip()
    with grpc.insecure_channel(address) as channel:
        unary = channel.unary_unary("/test.Echo/Unary")
        answer, call = unary.with_call(b"hello", metadata=(("x-said", "this"), ("x-user-id", "forged")), timeout=10)
        assert answer == b"echo hello", answer
        trailing = dict(call.trailing_metadata())
        assert trailing["x-seen"] == "this" and trailing["x-user"] == "-", trailing
        try:
            unary(b"abort", timeout=10)
            raise AssertionError("not aborted")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
            assert error.details() == "not so, and 50% \u00fc", error.details()
        # The gateway's own view of a deadline is the client's reset: it ends in time, not after five seconds.
        began = time.monotonic()
        assert code_of(lambda: unary(b"sleep", timeout=0.5)) == grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - began < 4

        to_client = channel.unary_stream("/test.Echo/ToClient")
        assert list(to_client(b"1000", timeout=10)) == [b"%d" % place for place in range(1000)]

        from_client = channel.stream_unary("/test.Echo/FromClient")
        assert from_client((b"x" * 50_000 for _ in range(100)), timeout=20) == b"5000000"

        both_ways = channel.stream_stream("/test.Echo/BothWays")
        heard = []

        def words():
            for place in range(100):
                # Each word waits for the answer to the one before: both directions flow at once.
                while len(heard) < place:
                    time.sleep(0.001)
                yield b"word%d" % place

        for answer in both_ways(words(), timeout=20):
            heard.append(answer)
        assert heard == [b"WORD%d" % place for place in range(100)], heard[:3]

        secret = channel.unary_unary("/secret.Echo/Unary")
        assert code_of(lambda: secret(b"x", timeout=10)) == grpc.StatusCode.UNAUTHENTICATED
        nowhere = channel.unary_unary("/nowhere.Echo/Unary")
        assert code_of(lambda: nowhere(b"x", timeout=10)) == grpc.StatusCode.UNIMPLEMENTED
    server.stop(None)
    print("all as it should be", flush=True)


main()
