"""Visitors that come at a fixed rate, each with a connection of its own, over TLS with a full handshake."""
import select, socket, ssl, time
import load


class Visitor:
    """One pull on a connection of its own, from the first packet to the last byte of the body."""
    def __init__(self, port, context, request, size):
        self.began = time.perf_counter()
        self.waiting, self.got, self.size = request, bytearray(), size
        self.connection = socket.socket()
        self.connection.setblocking(False)
        self.connection.connect_ex(("127.0.0.1", port))
        self.context, self.shaken = context, context is None
        self.number = self.connection.fileno()

    def step(self):
        """Goes on as far as it can. What it waits for; 0 once the answer is whole."""
        try:
            if self.context and not isinstance(self.connection, ssl.SSLSocket):
                self.connection = self.context.wrap_socket(self.connection, do_handshake_on_connect=False)
            if not self.shaken:
                self.connection.do_handshake()
                self.shaken = True
                if self.connection.session_reused:
                    raise load.Failed("a TLS session was resumed")
            if self.waiting:
                self.connection.sendall(self.waiting)
                self.waiting = b""
            while True:
                piece = self.connection.recv(65536)
                if not piece:
                    raise load.Failed(f"the connection ended after {len(self.got)} bytes")
                self.got += piece
                head = self.got.find(b"\r\n\r\n")
                if head >= 0 and len(self.got) - head - 4 >= self.size:
                    return 0
        except (ssl.SSLWantReadError, BlockingIOError):
            return select.EPOLLIN
        except ssl.SSLWantWriteError:
            return select.EPOLLOUT


def come(place, scenario, seconds, size):
    """Latencies in microseconds of the pulls of so many seconds."""
    context = None
    if scenario.tls:
        # A session is resumed only where it is handed on, and none is: every handshake is a full one.
        context = ssl.create_default_context(cafile=place.certificate)
        context.check_hostname = False
        context.set_alpn_protocols(["http/1.1"])
    request = "".join(line + "\r\n" for line in [f"GET {scenario.path} HTTP/1.1", "Host: localhost", *load.headers(scenario),
                                                 "Connection: close", ""]).encode()
    port = place.tls_port if scenario.tls else place.port
    expected = b"HTTP/1.1 %d " % scenario.status
    total, begun, here, latencies = round(scenario.rate * seconds), 0, {}, []
    poll, start = select.epoll(), time.perf_counter()
    try:
        while len(latencies) < total:
            now = time.perf_counter()
            if now - start > seconds + 30:
                raise load.Failed(f"{len(here)} pulls were never answered")
            while begun < total and start + begun / scenario.rate <= now:
                visitor = Visitor(port, context, request, size)
                here[visitor.number] = visitor
                poll.register(visitor.number, select.EPOLLOUT)
                begun += 1
            due = start + begun / scenario.rate - time.perf_counter() if begun < total else 1
            for number, _ in poll.poll(max(0, due)):
                visitor = here[number]
                if wanted := visitor.step():
                    poll.modify(number, wanted)
                    continue
                latencies.append((time.perf_counter() - visitor.began) * 1e6)
                if not visitor.got.startswith(expected):
                    raise load.Failed(f"answered with {bytes(visitor.got[:40])}")
                poll.unregister(number)
                here.pop(number).connection.close()
    except OSError as error:
        raise load.Failed(str(error)) from None
    finally:
        poll.close()
        for visitor in here.values():
            visitor.connection.close()
    return latencies
