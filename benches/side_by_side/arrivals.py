"""Visitors that come at a fixed rate and may need a connection of their own, over TLS with a full handshake."""
import select, socket, ssl, time
import load


class Connection:
    """Carries one pull at a time."""
    def __init__(self, port, context):
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.connect_ex(("127.0.0.1", port))
        self.number, self.context, self.shaken = self.socket.fileno(), context, context is None

    def pull(self, request, size, began):
        self.request, self.size, self.began, self.got = request, size, began, bytearray()

    def step(self):
        """Goes on as far as it can. What it waits for; 0 once the answer is whole."""
        try:
            if not self.shaken:
                self._shake_hands()
            if self.request:
                self.socket.sendall(self.request)
                self.request = b""
            while not self._is_whole():
                piece = self.socket.recv(65536)
                if not piece:
                    raise load.Failed(f"the connection ended after {len(self.got)} bytes")
                self.got += piece
            return 0
        except (ssl.SSLWantReadError, BlockingIOError):
            return select.EPOLLIN
        except ssl.SSLWantWriteError:
            return select.EPOLLOUT

    def _shake_hands(self):
        if not isinstance(self.socket, ssl.SSLSocket):
            self.socket = self.context.wrap_socket(self.socket, do_handshake_on_connect=False)
        self.socket.do_handshake()
        self.shaken = True
        if self.socket.session_reused:
            raise load.Failed("a TLS session was resumed")

    def _is_whole(self):
        head = self.got.find(b"\r\n\r\n")
        return head >= 0 and len(self.got) - head - 4 >= self.size

    def can_go_on(self):
        lines = bytes(self.got.partition(b"\r\n\r\n")[0]).lower().split(b"\r\n")
        closes = any(line.startswith(b"connection:") and b"close" in line for line in lines)
        return not closes and b"content-length: %d" % self.size in lines


def come(place, scenario, seconds, size):
    """Latencies in microseconds, connecting included, of the pulls of so many seconds; answers are `size` bytes long."""
    context = None
    if scenario.tls:
        # A session is resumed only where it is handed on, and none is: every handshake is a full one.
        context = ssl.create_default_context(cafile=place.certificate)
        context.check_hostname = False
        context.set_alpn_protocols(["http/1.1"])
    kept = scenario.kind == "keep-alive"
    request = "".join(line + "\r\n" for line in [f"GET {scenario.path} HTTP/1.1", "Host: localhost", *load.headers(scenario),
                                                 *([] if kept else ["Connection: close"]), ""]).encode()
    port, expected = place.tls_port if scenario.tls else place.port, b"HTTP/1.1 %d " % scenario.status
    total, begun, latencies, busy, resting = round(scenario.rate * seconds), 0, [], {}, []
    poll, start = select.epoll(), time.perf_counter()
    try:
        while len(latencies) < total:
            now = time.perf_counter()
            if now - start > seconds + 30:
                raise load.Failed(f"{len(busy)} pulls were never answered")
            while begun < total and start + begun / scenario.rate <= now:
                began = time.perf_counter()
                connection = resting.pop() if resting else Connection(port, context)
                connection.pull(request, size, began)
                busy[connection.number] = connection
                poll.register(connection.number, select.EPOLLOUT)
                begun += 1
            due = start + begun / scenario.rate - time.perf_counter() if begun < total else 1
            for number, _ in poll.poll(max(0, due)):
                connection = busy[number]
                if wanted := connection.step():
                    poll.modify(number, wanted)
                    continue
                latencies.append((time.perf_counter() - connection.began) * 1e6)
                if not connection.got.startswith(expected):
                    raise load.Failed(f"answered with {bytes(connection.got[:40])}")
                poll.unregister(number)
                del busy[number]
                if kept and connection.can_go_on():
                    resting.append(connection)
                else:
                    connection.socket.close()
    except OSError as error:
        raise load.Failed(str(error)) from None
    finally:
        poll.close()
        for connection in [*busy.values(), *resting]:
            connection.socket.close()
    return latencies
