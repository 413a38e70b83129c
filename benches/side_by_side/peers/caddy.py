"""Caddy. Its log is JSON: combined is a plugin."""
import subprocess
import place as asked

NAME = "Caddy"
LACKS = {}


def commands(place):
    conf = place.write("Caddyfile", f"""
{{
  admin off
  auto_https off
  servers {{
    timeouts {{
      idle 600s
    }}
  }}
}}
(pulls) {{
  bind 127.0.0.1
  log {{
    output file {place.log} {{
      roll_disabled
    }}
  }}
  encode {{
    gzip {place.gzip_level}
    minimum_length 256
    match {{
      {chr(10).join(f"header Content-Type {name}*" for name in asked.TYPES)}
    }}
  }}
  @static path {" ".join("*." + name for name in asked.STATIC)}
  header @static Cache-Control "{asked.LIFETIME}"
  handle {asked.BEACON} {{
    root * {place.www}
    rewrite * /beacon.gif
    file_server
  }}
  handle {{
    reverse_proxy 127.0.0.1:{place.origin_port} {{
      header_up X-Real-IP {{remote_host}}
      transport http {{
        compression off
        keepalive 600s
        keepalive_idle_conns_per_host 256
      }}
      @failed status 5xx
      handle_response @failed {{
        root * {place.www}
        rewrite * /whoopsie.html
        file_server {{
          status {{http.reverse_proxy.status_code}}
        }}
      }}
    }}
  }}
}}
http://:{place.port} {{
  import pulls
}}
https://:{place.tls_port} {{
  tls {place.certificate} {place.key}
  import pulls
}}
""")
    home = [f"{name}={place.folder}" for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")]
    return [["env", f"GOMAXPROCS={place.workers}", *home, "/usr/bin/caddy", "run", "--adapter", "caddyfile", "--config", conf]]


def version(place):
    return subprocess.run(["/usr/bin/caddy", "version"], capture_output=True, text=True).stdout.split()[0].lstrip("v")
