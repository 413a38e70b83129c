"""Apache with the event MPM: a process for each worker, 128 threads in each."""
import subprocess
import place as asked

NAME = "Apache"
LACKS = {}
MODULES = "mpm_event authz_core mime headers filter deflate alias setenvif proxy proxy_http socache_shmcb ssl http2"


def commands(place):
    load = "\n".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in MODULES.split())
    errors = (500, 501, 502, 503, 504)
    conf = place.write("apache.conf", f"""
{load}
ServerRoot {place.folder}
ServerName localhost
PidFile {place.folder}/apache.pid
DefaultRuntimeDir {place.folder}
ErrorLog {place.folder}/error.log
User nobody
Group nogroup
StartServers {place.workers}
ServerLimit {place.workers}
ThreadsPerChild 128
ThreadLimit 128
MaxRequestWorkers {128 * place.workers}
MinSpareThreads 1
MaxSpareThreads {128 * place.workers}
AsyncRequestWorkerFactor 100
ListenBacklog 4096
KeepAliveTimeout 600
MaxKeepAliveRequests 0
TypesConfig /etc/mime.types
LogFormat "%h %l %u %t \\"%r\\" %>s %O \\"%{{Referer}}i\\" \\"%{{User-Agent}}i\\"" combined
CustomLog {place.log} combined
Listen 127.0.0.1:{place.port}
Listen 127.0.0.1:{place.tls_port}
Protocols http/1.1
<Directory {place.www}>
  Require all granted
</Directory>
Alias {asked.BEACON} {place.www}/beacon.gif
Alias /whoopsie.html {place.www}/whoopsie.html
ProxyPass {asked.BEACON} !
ProxyPass /whoopsie.html !
ProxyPass / http://127.0.0.1:{place.origin_port}/
ProxyPreserveHost On
RequestHeader set X-Forwarded-Proto expr=%{{REQUEST_SCHEME}}
RequestHeader set X-Real-IP expr=%{{REMOTE_ADDR}}
ProxyErrorOverride On {" ".join(map(str, errors))}
{chr(10).join(f"ErrorDocument {status} /whoopsie.html" for status in errors)}
<LocationMatch "\\.({"|".join(asked.STATIC)})$">
  Header set Cache-Control "{asked.LIFETIME}"
</LocationMatch>
DeflateCompressionLevel {place.gzip_level}
AddOutputFilterByType DEFLATE {" ".join(asked.TYPES)}
SSLProtocol TLSv1.2 TLSv1.3
<VirtualHost 127.0.0.1:{place.tls_port}>
  Protocols h2 http/1.1
  SSLEngine on
  SSLCertificateFile {place.certificate}
  SSLCertificateKeyFile {place.key}
</VirtualHost>
""")
    return [["/usr/sbin/apache2", "-f", conf, "-DFOREGROUND"]]


def version(place):
    return subprocess.run(["/usr/sbin/apache2", "-v"], capture_output=True, text=True).stdout.split("Apache/")[1].split()[0]
