"""The origin: one nginx worker that serves files, and never is what limits."""


def commands(folder, port):
    temporary = " ".join(f"{what}_temp_path {folder};" for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    path = f"{folder}/origin.conf"
    with open(path, "w") as out:
        out.write(f"""
worker_processes 1; daemon off; pid {folder}/origin.pid; error_log {folder}/origin.error; worker_rlimit_nofile 20000;
events {{ worker_connections 8192; }}
http {{
  include /etc/nginx/mime.types; default_type application/octet-stream; access_log off; {temporary}
  sendfile on; tcp_nopush on; keepalive_timeout 600s; keepalive_requests 1000000000; open_file_cache max=100;
  server {{
    listen 127.0.0.1:{port} backlog=4096; root {folder}/site;
    location = /boom {{ default_type text/html; return 503 "<html>the app is busy</html>"; }}
    location = /seen {{ default_type text/plain;
      return 200 "$http_host|$http_x_forwarded_for|$http_x_forwarded_proto|$http_x_forwarded_host|$http_x_real_ip"; }}
  }}
}}
""")
    return [["/usr/sbin/nginx", "-p", folder, "-c", path]]
