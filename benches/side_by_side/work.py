"""The site behind the proxies, and the check that each of them does the same work."""
import gzip, http.client, os, random

BEACON = bytes.fromhex("47494638396101000100800000000000000000" "21f90401000000002c00000000010001000002024401003b")
PAGE = "<!doctype html><html><title>We'll be right back</title><p>Something went wrong on our side.</html>\n" * 20


SCRIPTS = ["/usr/share/javascript/jquery/jquery.min.js", "/usr/share/javascript/lodash/lodash.min.js"]


def script():
    """153,600 bytes of JavaScript as shops serve it."""
    return b"".join(open(path, "rb").read() for path in SCRIPTS)[:153600]


def write(bench):
    dice = random.Random(7)
    root = os.path.join(bench.folder, "site")
    files = {"img/1k.jpg": dice.randbytes(1024), "img/100k.jpg": dice.randbytes(102400), "big.bin": dice.randbytes(10 << 20),
             "js/app.js": script(), "page.html": PAGE.encode()}
    for name, content in files.items():
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as out:
            out.write(content)
    www = os.path.join(bench.folder, "www")
    os.makedirs(os.path.join(www, "pages"), exist_ok=True)
    for name, content in {"beacon.gif": BEACON, "whoopsie.html": PAGE.encode(), "pages/en.html": PAGE.encode()}.items():
        with open(os.path.join(www, name), "wb") as out:
            out.write(content)


def get(bench, path, headers):
    connection = http.client.HTTPConnection("127.0.0.1", bench.port, timeout=5)
    connection.request("GET", path, headers={"X-CDN-Provider": "cloudfront", "X-CDN-Secret": bench.SECRET} | headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body


def check(peer, bench):
    """Fails unless the peer does the same work as the others."""
    def expect(holds, what):
        if not holds:
            raise SystemExit(f"{peer} does not do the same work: {what}")
    root = os.path.join(bench.folder, "site")
    for name in ("img/1k.jpg", "img/100k.jpg", "js/app.js", "page.html"):
        with open(os.path.join(root, name), "rb") as file:
            content = file.read()
        status, headers, body = get(bench, "/" + name, {})
        expect(status == 200 and body == content, f"{name}: {status}, {len(body)} bytes")
        lifetime = None if name.endswith("html") else bench.LIFETIME
        expect(headers.get("cache-control") == lifetime, f"{name}: Cache-Control {headers.get('cache-control')}")
        if name == "js/app.js":
            status, headers, body = get(bench, "/" + name, {"Accept-Encoding": "gzip"})
            expect(headers.get("content-encoding") == "gzip" and gzip.decompress(body) == content, "gzip")
            bench.sizes[peer] = len(body)
    status, headers, body = get(bench, "/status/images/beacon.gif", {})
    expect(status == 200 and len(body) == 43, f"beacon: {status}, {len(body)} bytes")
    status, headers, body = get(bench, "/boom", {"Accept": "text/html"})
    expect(status == 503 and b"Something went wrong" in body, f"whoopsie: {status}")
