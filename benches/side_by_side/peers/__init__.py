"""The proxies, a module each: `commands(place)` writes the configuration and says what to run, `version(place)` what it is.

What a proxy cannot do, its `LACKS` says, with the reason: `tls`, `levels` (of gzip). `LOGS_TO_STDOUT` is for
those that have no log file of their own.
"""
from . import apache, caddy, haproxy, headwater, nginx, varnish

PEERS = {"headwater": headwater, "nginx": nginx, "haproxy": haproxy, "apache": apache, "caddy": caddy, "varnish": varnish}
