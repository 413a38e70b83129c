"""Headwater with everything on: proof by secret, rules, figures for each provider, the country database."""
import json, os, subprocess
import place as asked

NAME = "Headwater"
LACKS = {}
COUNTRIES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../tests/data/countries.mmdb")


def commands(place):
    return [[place.headwater, "serve", "-c", place.write("headwater.toml", f"""
[listen]
http = ["127.0.0.1:{place.port}"]
https = ["127.0.0.1:{place.tls_port}"]
admin = "127.0.0.1:{place.admin_port}"
workers = {place.workers}
[tls]
certificate = "{place.certificate}"
key = "{place.key}"
[origin]
servers = ["127.0.0.1:{place.origin_port}"]
idle_timeout = "600s"
[limits]
idle_timeout = "600s"
[[cdn]]
name = "cloudfront"
kind = "cloudfront"
secret = {{ header = "X-CDN-Secret", values = ["{asked.SECRET}"] }}
[[rule]]
name = "static"
path = '\\.({"|".join(asked.STATIC)})$'
cache_control = "{asked.LIFETIME}"
[gzip]
types = {json.dumps(asked.TYPES)}
level = {place.gzip_level}
min_length = "256 B"
[whoopsie]
pages = "{place.www}/pages"
[geo]
database = "{os.path.realpath(COUNTRIES)}"
[log]
access = "{place.log}"
""")]]


def version(place):
    return subprocess.run([place.headwater, "--version"], capture_output=True, text=True).stdout.split()[-1]
