#!/bin/sh
# Installs what the tests drive: real servers, readers of logs and figures, linters. Says what it does, and does nothing twice.
set -eu
cd "$(dirname "$0")/.."

packages=
need() { [ -e "$1" ] || packages="$packages $2"; }
need /usr/sbin/apache2 apache2
need /etc/mime.types media-types
need /usr/sbin/nginx nginx-light
need /usr/sbin/haproxy haproxy
need /usr/bin/goaccess goaccess
need /usr/bin/promtool prometheus
need /usr/bin/shellcheck shellcheck
need /usr/bin/curl curl
need /usr/bin/chromium chromium
need /usr/bin/nghttp nghttp2-client
need /usr/bin/openssl openssl
need /usr/bin/cc gcc
need /usr/bin/systemd-analyze systemd
need /usr/bin/systemd-nspawn systemd-container
need /usr/sbin/logrotate logrotate
need /usr/bin/dpkg-shlibdeps dpkg-dev
need /usr/bin/ss iproute2
python3 -c 'import venv, ensurepip' 2>/dev/null || packages="$packages python3 python3-venv"

if [ -n "$packages" ]; then
  command -v apt-get >/dev/null || { echo "the tests need:$packages (this is no Debian: install them by hand)" >&2; exit 1; }
  sudo=
  [ "$(id -u)" = 0 ] || sudo=sudo
  echo "installing:$packages"
  $sudo apt-get update -qq
  # The servers are run by the tests, on ports of their own: nothing is to be started at install.
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
fi

command -v cargo >/dev/null || { echo "the tests need Rust 1.95 or newer: see https://rustup.rs" >&2; exit 1; }

venv=target/test-tools/venv
peers="httplint==2026.10.4 websockets==17.4 h2==4.4.1 moto[server]==5.2.5 boto3==1.44.8"
if [ "$(cat "$venv/peers" 2>/dev/null)" != "$peers" ]; then
  echo "installing into $venv: $peers"
  python3 -m venv "$venv"
  # shellcheck disable=SC2086
  "$venv/bin/pip" install --quiet --disable-pip-version-check $peers
  echo "$peers" > "$venv/peers"
fi
