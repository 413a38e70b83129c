"""Connections that have had one answer and rest."""
import socket, time
import load

WARM, COUNT = 50, 2000
REQUEST = "".join(line + "\r\n" for line in ["GET /img/1k.jpg HTTP/1.1", "Host: localhost", *load.HEADERS, ""]).encode()


def cost_kib(processes, place):
    """Memory with 2,000 more connections, less memory before them; those before have filled buffers that serve any number."""
    held = []
    try:
        for _ in range(WARM):
            held.append(_connect(place.port))
        time.sleep(.3)
        before = processes.pss_kib()
        for _ in range(COUNT):
            held.append(_connect(place.port))
        time.sleep(.7)
        after = processes.pss_kib()
        if closed := sum(map(_is_closed, held)):
            raise load.Failed(f"{closed} of the connections were closed")
        return after - before
    except OSError as error:
        raise load.Failed(str(error)) from None
    finally:
        for connection in held:
            connection.close()


def _connect(port):
    connection = socket.create_connection(("127.0.0.1", port), 5)
    connection.sendall(REQUEST)
    got = b""
    while b"\r\n\r\n" not in got or len(got.split(b"\r\n\r\n", 1)[1]) < 1024:
        piece = connection.recv(65536)
        if not piece:
            raise load.Failed("a connection was closed before its answer")
        got += piece
    return connection


def _is_closed(connection):
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
