"""Does each proxy do the same work?"""
import gzip, http.client, os, socket, ssl, subprocess, time
import content, load
import place as asked

HEADERS = dict(line.split(": ", 1) for line in load.HEADERS)
COMPRESSED = {"/js/app.js": "js", "/page.html": "html"}


def same_work(name, lacks, place):
    """Fails unless the proxy does what it claims to do. Sizes of what it compressed, and whether it speaks HTTP/2."""
    def expect(holds, what):
        if not holds:
            raise SystemExit(f"{name} does not do the same work: {what}")
    sizes = {}
    for path, body in content.site().items():
        status, headers, got = get(place, path)
        expect(status == 200 and got == body, f"{path}: {status}, {len(got)} bytes")
        lifetime = asked.LIFETIME if path.endswith((".jpg", ".js")) else None
        expect(headers.get("cache-control") == lifetime, f"{path}: Cache-Control {headers.get('cache-control')}")
        expect("content-encoding" not in headers, f"{path}: encoded unasked")
        status, headers, got = get(place, path, {"Accept-Encoding": "gzip"})
        if path in COMPRESSED:
            expect(headers.get("content-encoding") == "gzip" and gzip.decompress(got) == body, f"{path} is not compressed")
            sizes[COMPRESSED[path]] = len(got)
        else:
            expect("content-encoding" not in headers, f"{path} is compressed")
    status, headers, got = get(place, asked.BEACON)
    expect((status, headers.get("content-type"), len(got)) == (200, "image/gif", 43), f"beacon: {status}, {len(got)} bytes")
    status, headers, got = get(place, "/boom")
    expect(status == 503 and got == content.PAGE.encode(), f"whoopsie: {status}, {len(got)} bytes")
    expect(_seen(place, "http"), f"the app saw {get(place, '/seen')[2]}")
    h2 = False
    if "tls" not in lacks:
        expect(_seen(place, "https"), f"the app saw {get(place, '/seen', tls=True)[2]}")
        h2 = "h2" == _protocol(place)
    if h2:
        expect(_over_h2(place, "/img/100k.jpg") == content.site()["/img/100k.jpg"], "100 KiB over HTTP/2")
    # A log writer that is a process of its own may have begun after all of the above.
    end = time.time() + 20
    while not (os.path.exists(place.log) and os.path.getsize(place.log)):
        expect(time.time() < end, "no line in the access log")
        get(place, "/img/1k.jpg")
        time.sleep(.1)
    return sizes, h2


def get(place, path, headers={}, tls=False):
    if tls:
        connection = http.client.HTTPSConnection("127.0.0.1", place.tls_port, timeout=5, context=_context(place))
    else:
        connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=5)
    connection.request("GET", path, headers=HEADERS | headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body


def _seen(place, scheme):
    """Whether the app was told whom it answers, over which scheme, under which name."""
    tls = scheme == "https"
    host = f"127.0.0.1:{place.tls_port if tls else place.port}"
    return get(place, "/seen", tls=tls)[2].decode() == f"{host}|127.0.0.1|{scheme}|{host}|127.0.0.1"


def _context(place):
    return ssl.create_default_context(cafile=place.certificate)


def _protocol(place):
    context = _context(place)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection(("127.0.0.1", place.tls_port), 5) as plain:
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as secured:
            if secured.version() != "TLSv1.3":
                raise SystemExit(f"TLS 1.3 was offered, and {secured.version()} taken")
            return secured.selected_alpn_protocol()


def _over_h2(place, path):
    command = ["nghttp", "--no-verify-peer", *(f"--header={line}" for line in load.HEADERS), f"https://127.0.0.1:{place.tls_port}{path}"]
    return subprocess.run(command, capture_output=True, timeout=10).stdout
