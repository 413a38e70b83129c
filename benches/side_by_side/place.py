"""Where a proxy stands, and what is asked of every one of them."""
import dataclasses, socket

SECRET = "a-secret-of-the-benchmark-0123456789"
LIFETIME = "public, max-age=94670800"
STATIC = ("gif", "jpg", "jpeg", "png", "css", "js")
TYPES = ("text/html", "text/plain", "text/css", "application/javascript", "text/javascript", "application/json", "image/svg+xml")
BEACON = "/status/images/beacon.gif"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclasses.dataclass
class Place:
    folder: str                # of this proxy alone: configuration, log, sockets
    www: str                   # the beacon and the error page, for all
    certificate: str           # PEM
    key: str                   # PEM
    both: str                  # PEM: certificate and key
    origin_port: int
    workers: int
    gzip_level: int
    headwater: str             # the binary
    port: int = dataclasses.field(default_factory=free_port)
    tls_port: int = dataclasses.field(default_factory=free_port)
    admin_port: int = dataclasses.field(default_factory=free_port)

    @property
    def log(self):
        """The access log, which a proxy appends to: it is emptied between measurements."""
        return f"{self.folder}/access.log"

    def write(self, name, text):
        path = f"{self.folder}/{name}"
        with open(path, "w") as out:
            out.write(text)
        return path
