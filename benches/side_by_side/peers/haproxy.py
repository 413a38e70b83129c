"""HAProxy. A stick table counts by provider; the log is a combined line."""
import subprocess
import place as asked

NAME = "HAProxy"
LACKS = {"levels": "its compressor has one speed, and its figures stand with the fast mode"}
LOGS_TO_STDOUT = True


def commands(place):
    pages = "\n".join(f"  http-response return status {status} content-type text/html file {place.www}/whoopsie.html if {{ status {status} }}"
                      for status in (500, 501, 502, 503, 504))
    conf = place.write("haproxy.cfg", f"""
global
  nbthread {place.workers}
  maxconn 8000
  log stdout format raw local0
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
  http-reuse always
frontend pulls
  bind 127.0.0.1:{place.port} backlog 4096
  bind 127.0.0.1:{place.tls_port} ssl crt {place.both} alpn h2,http/1.1 backlog 4096
  log global
  http-request capture req.hdr(Referer) len 128
  http-request capture req.hdr(User-Agent) len 128
  log-format "%ci - - [%trl] %{{+Q}}r %ST %B %{{+Q}}[capture.req.hdr(0)] %{{+Q}}[capture.req.hdr(1)]"
  stick-table type string len 32 size 1k store http_req_cnt
  http-request track-sc0 req.hdr(X-CDN-Provider)
  http-request return status 200 content-type image/gif file {place.www}/beacon.gif if {{ path {asked.BEACON} }}
  option forwardfor
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
  http-request set-header X-Forwarded-Host %[req.hdr(Host)]
  http-request set-header X-Real-IP %[src]
  http-request set-var(txn.static) bool(1) if {{ path_end -i {" ".join("." + name for name in asked.STATIC)} }}
  http-response set-header Cache-Control "{asked.LIFETIME}" if {{ var(txn.static) -m bool }} {{ status 200:399 }}
{pages}
  compression algo gzip
  compression type {" ".join(asked.TYPES)}
  default_backend app
backend app
  server app 127.0.0.1:{place.origin_port} pool-max-conn 256
""")
    return [["/usr/sbin/haproxy", "-db", "-f", conf]]


def version(place):
    return subprocess.run(["/usr/sbin/haproxy", "-v"], capture_output=True, text=True).stdout.split()[2].split("-")[0]
