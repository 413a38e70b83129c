#!/bin/sh
# Installs what the bench drives: the peers, the load and the scripts that are compressed. Starts no service, does nothing twice.
set -eu

packages=
need() { [ -e "$1" ] || packages="$packages $2"; }
need /usr/sbin/nginx nginx-light
need /usr/sbin/haproxy haproxy
need /usr/sbin/apache2 apache2
need /etc/mime.types media-types
need /usr/bin/caddy caddy
need /usr/sbin/varnishd varnish
need /usr/bin/h2load nghttp2-client
need /usr/bin/wrk wrk
need /usr/bin/openssl openssl
need /usr/bin/taskset util-linux
need /usr/share/javascript/jquery/jquery.min.js libjs-jquery
need /usr/share/javascript/lodash/lodash.min.js libjs-lodash
need /usr/share/doc/debian/FAQ/pkg-basics.en.html debian-faq
[ -n "$packages" ] || exit 0

command -v apt-get >/dev/null || { echo "the bench needs:$packages (this is no Debian: install them by hand)" >&2; exit 1; }
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
echo "installing:$packages"
$sudo apt-get update -qq
# The bench runs the servers itself, on ports of its own.
policy=/usr/sbin/policy-rc.d
mine=
if [ ! -e "$policy" ]; then
  mine=yes
  printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
  $sudo chmod +x "$policy"
fi
status=0
# shellcheck disable=SC2086
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null || status=$?
[ -z "$mine" ] || $sudo rm -f "$policy"
[ "$status" = 0 ] || { echo "could not install:$packages" >&2; exit "$status"; }
