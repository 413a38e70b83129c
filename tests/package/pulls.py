"""Pulls at a steady rate, over new and kept connections, until it is told to end; prints how many, and each that failed."""

import http.client
import signal
import sys
import threading
import time

port = int(sys.argv[1])
ending = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: ending.set())
pulls = []
failures = []


def pull(kept):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    while not ending.is_set():
        try:
            # http.client connects anew where the last answer closed the connection.
            connection.request("GET", "/page", headers={} if kept else {"Connection": "close"})
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200 or len(body) != 30000:
                failures.append(f"{answer.status} with {len(body)} bytes")
            pulls.append(answer.status)
        except (OSError, http.client.HTTPException) as error:
            failures.append(repr(error))
            connection.close()
        time.sleep(0.005)


threads = [threading.Thread(target=pull, args=(kept,)) for kept in (True, False, True, False)]
for thread in threads:
    thread.start()
while not ending.wait(1):
    pass
for thread in threads:
    thread.join()
print(len(pulls), *failures, sep="\n")
