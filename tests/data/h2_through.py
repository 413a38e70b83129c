"""A client of HTTP/2 over TLS, of the `h2` package, with windows so small that every body waits for them.

Arguments: port, authority's certificate, path, number of streams. Prints what each stream got.
"""

import hashlib
import json
import socket
import ssl
import sys

import h2.config
import h2.connection
import h2.events
import h2.settings

port, authority, path, count = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
context = ssl.create_default_context(cafile=authority)
context.set_alpn_protocols(["h2"])
raw = socket.create_connection(("127.0.0.1", port), timeout=20)
wire = context.wrap_socket(raw, server_hostname="shop.example")
assert wire.selected_alpn_protocol() == "h2"

connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
connection.local_settings = h2.settings.Settings(
    client=True, initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1000}
)
connection.initiate_connection()
answers = {}
for _ in range(count):
    stream = connection.get_next_available_stream_id()
    head = [(":method", "GET"), (":scheme", "https"), (":authority", "shop.example"), (":path", path)]
    connection.send_headers(stream, head, end_stream=True)
    answers[stream] = {"status": None, "length": 0, "hash": hashlib.sha256(), "ended": False, "trailers": []}
wire.sendall(connection.data_to_send())

while not all(answer["ended"] for answer in answers.values()):
    data = wire.recv(65536)
    assert data, "the connection ended before the answers"
    for event in connection.receive_data(data):
        answer = answers.get(getattr(event, "stream_id", None))
        if isinstance(event, h2.events.ResponseReceived):
            answer["status"] = dict(event.headers)[":status"]
        elif isinstance(event, h2.events.DataReceived):
            answer["length"] += len(event.data)
            answer["hash"].update(event.data)
            connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            answer["trailers"] = [list(field) for field in event.headers]
        elif isinstance(event, h2.events.StreamEnded):
            answer["ended"] = True
        elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
            raise SystemExit(f"broken off: {event}")
    wire.sendall(connection.data_to_send())

for answer in answers.values():
    answer["hash"] = answer["hash"].hexdigest()
print(json.dumps(list(answers.values())))
