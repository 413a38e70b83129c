"""Varnish with every request passed: nothing is cached. Its log is written by varnishncsa, whose time counts."""
import base64, re, subprocess
import place as asked

NAME = "Varnish"
LACKS = {"tls": "it speaks no TLS, but wants a terminator before it"}


def commands(place):
    with open(f"{place.www}/beacon.gif", "rb") as file:
        beacon = base64.b64encode(file.read()).decode()
    types = "|".join(re.escape(name) for name in asked.TYPES)
    conf = place.write("pass.vcl", f"""
vcl 4.1;
import blob;
import std;
backend app {{ .host = "127.0.0.1"; .port = "{place.origin_port}"; }}
sub vcl_recv {{
  if (req.url == "{asked.BEACON}") {{ return (synth(200, "beacon")); }}
  set req.http.X-Forwarded-Proto = "http";
  set req.http.X-Forwarded-Host = req.http.Host;
  set req.http.X-Real-IP = client.ip;
  return (pass);
}}
sub vcl_backend_response {{
  if (beresp.status >= 500) {{ return (error(beresp.status)); }}
  if (bereq.http.Accept-Encoding ~ "gzip" && beresp.http.Content-Type ~ "^({types})") {{ set beresp.do_gzip = true; }}
  if (bereq.url ~ "(?i)\\.({"|".join(asked.STATIC)})$") {{ set beresp.http.Cache-Control = "{asked.LIFETIME}"; }}
}}
sub vcl_backend_error {{
  set beresp.http.Content-Type = "text/html";
  set beresp.body = std.fileread("{place.www}/whoopsie.html");
  return (deliver);
}}
sub vcl_synth {{
  if (resp.reason == "beacon") {{
    set resp.http.Content-Type = "image/gif";
    set resp.body = blob.decode(BASE64, encoded="{beacon}");
    return (deliver);
  }}
}}
""")
    instance = f"{place.folder}/varnish"
    settings = {"thread_pools": place.workers, "thread_pool_min": 200 // place.workers, "gzip_level": place.gzip_level,
                "timeout_idle": 600, "listen_depth": 4096}
    return [["/usr/sbin/varnishd", "-F", "-j", "none", "-n", instance, "-a", f"127.0.0.1:{place.port}", "-f", conf, "-T", "none",
             "-s", "malloc,256m", *(part for name, value in settings.items() for part in ("-p", f"{name}={value}"))],
            ["/usr/bin/varnishncsa", "-n", instance, "-t", "30", "-a", "-w", place.log]]


def version(place):
    return re.search(r"varnish-([\d.]+)", subprocess.run(["/usr/sbin/varnishd", "-V"], capture_output=True, text=True).stderr).group(1)
