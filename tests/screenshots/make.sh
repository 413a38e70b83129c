#!/bin/sh
# Makes docs/overview.png and docs/provider.png from a seeded history: a week of three providers, one of which goes wrong.
# Wants a built `headwater` and example `seed` (cargo build --bin headwater; cargo build -p headwater-control --example seed)
# and Debian's chromium.
set -eu
cd "$(dirname "$0")/../.."
built=${CARGO_TARGET_DIR:-target}/debug
folder=$(mktemp -d)
trap 'kill "$control" 2>/dev/null || true; rm -rf "$folder"' EXIT
"$built/examples/seed" "$folder/history.db" 9 fastly,cloudflare,akamai akamai
cat > "$folder/headwater.toml" <<EOF
[origin]
servers = ["127.0.0.1:8000"]
[[cdn]]
name = "fastly"
kind = "fastly"
networks = ["fastly"]
[[cdn]]
name = "cloudflare"
kind = "cloudflare"
networks = ["cloudflare"]
[[cdn]]
name = "akamai"
kind = "akamai"
networks = ["192.0.2.0/24"]
[control]
listen = "127.0.0.1:0"
store = "$folder/history.db"
EOF
"$built/headwater" control -c "$folder/headwater.toml" 2> "$folder/log" &
control=$!
for _ in $(seq 100); do grep -q 'headwater: ready' "$folder/log" && break; sleep 0.1; done
address=$(sed -n 's/.*headwater: ready control=\([^ ]*\).*/\1/p' "$folder/log")
python3 tests/screenshots/picture.py \
  docs/overview.png "http://$address/?theme=light" 1440 520 \
  docs/provider.png "http://$address/provider?cdn=akamai&range=6h&compare=week&theme=dark" 1440 900
