"""nginx. It cannot count by provider without a module of somebody else's."""
import subprocess
import place as asked

NAME = "nginx"
LACKS = {}


def commands(place):
    # text/html is always among nginx's types, and naming it is warned of.
    types = " ".join(name for name in asked.TYPES if name != "text/html")
    folders = " ".join(f"{what}_temp_path {place.folder};" for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    conf = place.write("nginx.conf", f"""
worker_processes {place.workers}; daemon off; pid {place.folder}/nginx.pid; error_log {place.folder}/error.log;
worker_rlimit_nofile 20000;
events {{ worker_connections 8192; }}
http {{
  include /etc/nginx/mime.types; access_log {place.log} combined; {folders}
  sendfile on; tcp_nopush on; keepalive_timeout 600s; keepalive_requests 1000000000;
  upstream app {{ server 127.0.0.1:{place.origin_port}; keepalive 128; keepalive_requests 1000000000; keepalive_timeout 600s; }}
  gzip on; gzip_comp_level {place.gzip_level}; gzip_proxied any; gzip_vary on; gzip_min_length 256; gzip_types {types};
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
  proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Real-IP $remote_addr;
  proxy_max_temp_file_size 0; proxy_buffer_size 16k; proxy_buffers 8 32k; proxy_busy_buffers_size 64k;
  proxy_intercept_errors on; error_page 500 501 502 503 504 /whoopsie.html;
  ssl_certificate {place.certificate}; ssl_certificate_key {place.key}; ssl_protocols TLSv1.2 TLSv1.3;
  server {{
    listen 127.0.0.1:{place.port} reuseport backlog=4096;
    listen 127.0.0.1:{place.tls_port} ssl http2 reuseport backlog=4096;
    location = /whoopsie.html {{ internal; root {place.www}; }}
    location = {asked.BEACON} {{ empty_gif; }}
    location ~* \\.({"|".join(asked.STATIC)})$ {{ add_header Cache-Control "{asked.LIFETIME}"; proxy_pass http://app; }}
    location / {{ proxy_pass http://app; }}
  }}
}}
""")
    return [["/usr/sbin/nginx", "-p", place.folder, "-c", conf]]


def version(place):
    return subprocess.run(["/usr/sbin/nginx", "-v"], capture_output=True, text=True).stderr.strip().split("/")[-1]
