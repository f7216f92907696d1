"""HTTP/2 by the `h2` package against the gateway's own bounds: reads its address, sends 150 requests on one connection, a body
beyond every window, and a frame that is wrong.

Exits 0 if all came out as it should.
"""

import socket
import sys

import h2.config
import h2.connection
import h2.events


def connected(address):
    host, port = address.rsplit(":", 1)
    stream = socket.create_connection((host, int(port)), timeout=20)
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    connection.initiate_connection()
    stream.sendall(connection.data_to_send())
    return stream, connection


def headers(method, path):
    return [(":method", method), (":path", path), (":scheme", "http"), (":authority", "a.example")]


def events(stream, connection):
    data = stream.recv(65536)
    assert data, "the gateway closed"
    happened = connection.receive_data(data)
    for event in happened:
        if isinstance(event, h2.events.DataReceived):
            connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
    stream.sendall(connection.data_to_send())
    return happened


def main():
    address = sys.stdin.readline().strip()
    stream, connection = connected(address)
    while not any(isinstance(event, h2.events.RemoteSettingsChanged) for event in events(stream, connection)):
        pass
    streams = connection.remote_settings.max_concurrent_streams
    assert streams == 100, streams
    left, ended, statuses = 150, 0, set()
    open_streams = 0
    while ended < 150:
        while left and open_streams < streams:
            connection.send_headers(connection.get_next_available_stream_id(), headers("GET", "/"), end_stream=True)
            left, open_streams = left - 1, open_streams + 1
        stream.sendall(connection.data_to_send())
        for event in events(stream, connection):
            if isinstance(event, h2.events.ResponseReceived):
                statuses.add(dict(event.headers)[b":status"])
            if isinstance(event, h2.events.StreamEnded):
                ended, open_streams = ended + 1, open_streams - 1
    assert statuses == {b"200"}, statuses

    upload = connection.get_next_available_stream_id()
    connection.send_headers(upload, headers("POST", "/upload"))
    left, done = 3_000_000, False
    while not done:
        room = min(left, connection.local_flow_control_window(upload), connection.max_outbound_frame_size)
        if left and room:
            left -= room
            connection.send_data(upload, b"x" * room, end_stream=left == 0)
            stream.sendall(connection.data_to_send())
            continue
        for event in events(stream, connection):
            if isinstance(event, h2.events.ResponseReceived):
                assert dict(event.headers)[b":status"] == b"200", event
            done = done or isinstance(event, h2.events.StreamEnded)

    # DATA on stream 0 is a connection error (RFC 9113 §6.1): GOAWAY, and the end.
    stream.sendall(b"\x00\x00\x01\x00\x00\x00\x00\x00\x00x")
    said = b""
    while data := stream.recv(65536):
        said += data
    happened = connection.receive_data(said)
    assert any(isinstance(event, h2.events.ConnectionTerminated) for event in happened), happened
    print("all as it should be", flush=True)


main()
