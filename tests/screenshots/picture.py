"""Draws pages with Debian's chromium and writes what they look like.

  picture.py FILE.png URL WIDTH HEIGHT [FILE.png URL WIDTH HEIGHT ...]

Speaks the DevTools protocol over a pipe, and takes the picture once the dashboard says that it is drawn.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
import time

PATIENCE = 60
DRAWN = "document.readyState === 'complete' && (!document.getElementById('main') || !!document.getElementById('main').dataset.drawn && !document.getElementById('main').ariaBusy && document.getElementById('live').className === 'on')"


class Browser:
    def __init__(self, profile):
        script = 'exec chromium "$@" 3<&0 4>&1 0</dev/null 1>/dev/null 2>/dev/null'
        options = ["--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        self.process = subprocess.Popen(
            ["sh", "-c", script, "chromium", *options, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "HOME": profile},
        )
        self.number, self.session, self.rest = 0, None, b""
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.command(f"{domain}.enable")

    def command(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.process.stdin.write(json.dumps(message).encode() + b"\0")
        self.process.stdin.flush()
        while True:
            while b"\0" not in self.rest:
                part = os.read(self.process.stdout.fileno(), 1 << 20)
                if not part:
                    raise SystemExit("chromium ended")
                self.rest += part
            said, self.rest = self.rest.split(b"\0", 1)
            told = json.loads(said)
            if told.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                print(json.dumps(told["params"])[:400], file=sys.stderr)
            if told.get("id") == self.number:
                if "error" in told:
                    raise SystemExit(f"{method}: {told['error']}")
                return told["result"]

    def picture(self, file, url, width, height):
        size = {"width": int(width), "height": int(height), "deviceScaleFactor": 1, "mobile": int(width) < 600}
        self.command("Emulation.setDeviceMetricsOverride", **size)
        self.command("Page.navigate", url=url)
        until = time.monotonic() + PATIENCE
        while self.command("Runtime.evaluate", expression=DRAWN)["result"].get("value") is not True:
            if time.monotonic() > until:
                raise SystemExit(f"{url} is never drawn")
            time.sleep(0.1)
        # Two frames later what was laid out is painted.
        twice = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        self.command("Runtime.evaluate", expression=twice, awaitPromise=True)
        data = self.command("Page.captureScreenshot", format="png")["data"]
        with open(file, "wb") as out:
            out.write(base64.b64decode(data))
        print(f"{file}: {os.path.getsize(file)} bytes")


def main(arguments):
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(profile)
        try:
            for n in range(0, len(arguments), 4):
                browser.picture(*arguments[n : n + 4])
        finally:
            browser.process.terminate()
            browser.process.wait()


main(sys.argv[1:])
