"""What the origin serves, what the proxies answer themselves, and the certificate that all of them show."""
import os, random, subprocess

SCRIPTS = ["/usr/share/javascript/jquery/jquery.min.js", "/usr/share/javascript/lodash/lodash.min.js"]
DOCUMENT = "/usr/share/doc/debian/FAQ/pkg-basics.en.html"
SCRIPT_SIZE = 153600
BEACON = bytes.fromhex("47494638396101000100800000000000000000" "21f90401000000002c00000000010001000002024401003b")
PAGE = "<!doctype html><html><title>We'll be right back</title><p>Something went wrong on our side.</html>\n" * 20


def site():
    """Path to content. Scripts and a document as they are served, not random words: these compress otherwise."""
    def read(path):
        with open(path, "rb") as file:
            return file.read()
    dice = random.Random(7)
    return {"/img/1k.jpg": dice.randbytes(1024), "/img/100k.jpg": dice.randbytes(102400), "/big.bin": dice.randbytes(10 << 20),
            "/js/app.js": b"".join(map(read, SCRIPTS))[:SCRIPT_SIZE], "/page.html": read(DOCUMENT)}


def write(folder):
    """Writes `site`, `www`, `certificate.pem`, `key.pem` and `both.pem` into the folder."""
    for path, content in site().items():
        _put(f"{folder}/site{path}", content)
    for name, content in {"beacon.gif": BEACON, "whoopsie.html": PAGE.encode(), "pages/en.html": PAGE.encode()}.items():
        _put(f"{folder}/www/{name}", content)
    certificate, key = f"{folder}/certificate.pem", f"{folder}/key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                    "-keyout", key, "-out", certificate], check=True, capture_output=True)
    with open(f"{folder}/both.pem", "w") as out:
        for part in (certificate, key):
            with open(part) as file:
                out.write(file.read())


def _put(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as out:
        out.write(content)
