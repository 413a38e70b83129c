"""httplint, told of the request too: `python lint_exchange.py REQUEST < ANSWER`. Prints its notes on the answer."""
import contextlib
import io
import os
import sys
import time
from argparse import Namespace

from httplint.cli import http_parser
from httplint.cli.http_parser import HttpCliParser, modes

now = time.time()
request = HttpCliParser(Namespace(mode=modes.REQUEST), now)
# What it thinks of our request is not asked for.
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    request.handle_input(os.fsencode(sys.argv[1]))
# What has no end, or is no request, cannot be told of.
told = getattr(request, "linter", None)


class Told(http_parser.HttpResponseLinter):
    def __init__(self, **more):
        super().__init__(**more)
        if told:
            self.request = told
            self.is_head_response = told.method == "HEAD"


http_parser.HttpResponseLinter = Told
answer = HttpCliParser(Namespace(mode=modes.RESPONSE), now)
answer.handle_input(sys.stdin.buffer.read())
sys.exit(1 if answer.failed else 0)
