"""What is asked of the proxies."""
import dataclasses
import content


@dataclasses.dataclass(frozen=True)
class Scenario:
    """`rate` is in pulls a second, such that the slowest peer is at half its strength at most."""
    name: str
    title: str
    path: str = "/img/1k.jpg"
    kind: str = "keep-alive"       # keep-alive | new-connection | new-session | idle
    connections: int = 64
    streams: int = 1               # at a time, on each connection of HTTP/2
    tls: bool = False
    h2: bool = False
    gzip: bool = False
    level: int = 6                 # that the proxy is configured with
    status: int = 200
    size: int = 1024               # of the body, where connections end
    rate: int = 2000

    def needs(self):
        """What a peer must be able to do, as in its `LACKS`."""
        return [need for need, wanted in (("tls", self.tls), ("h2", self.h2), ("levels", self.gzip and self.level == 6)) if wanted]

    def connections_end(self):
        """Where they must, or may: Apache closes the connection after an error."""
        return self.kind != "keep-alive" or self.status >= 500


SCENARIOS = [
    Scenario("1k", "1 KiB"),
    Scenario("100k", "100 KiB", "/img/100k.jpg", rate=1500),
    Scenario("10m", "10 MiB", "/big.bin", connections=8, rate=25),
    Scenario("gzip-js", "gzip -6 of 150 KiB of JavaScript", "/js/app.js", connections=16, gzip=True, rate=70),
    Scenario("gzip-html", "gzip -6 of 37 KiB of HTML", "/page.html", connections=16, gzip=True, rate=250),
    Scenario("beacon", "beacon", "/status/images/beacon.gif"),
    Scenario("whoopsie", "whoopsie", "/boom", status=503, size=len(content.PAGE), rate=1500),
    Scenario("tls-1k", "1 KiB, HTTP/1.1 over TLS", connections=32, tls=True),
    Scenario("tls-100k", "100 KiB, HTTP/1.1 over TLS", "/img/100k.jpg", connections=32, tls=True, rate=800),
    Scenario("h2-1k", "1 KiB, HTTP/2 over TLS", connections=16, streams=8, tls=True, h2=True),
    Scenario("h2-100k", "100 KiB, HTTP/2 over TLS", "/img/100k.jpg", connections=16, streams=8, tls=True, h2=True, rate=800),
    Scenario("new-connection", "a connection for every pull", kind="new-connection", rate=1000),
    Scenario("new-session", "a TLS session for every pull", kind="new-session", tls=True, rate=400),
    Scenario("fast-js", "gzip, fast mode, of the JavaScript", "/js/app.js", connections=16, gzip=True, level=1, rate=200),
    Scenario("fast-html", "gzip, fast mode, of the HTML", "/page.html", connections=16, gzip=True, level=1, rate=500),
    Scenario("idle", "2,000 idle connections", kind="idle"),
]
NAMES = [scenario.name for scenario in SCENARIOS]
