#!/bin/sh
# Builds two versions of the Debian package and boots a systemd of its own over a copy of this machine's files, where
# inside.sh installs, upgrades and removes them. Nothing of this machine is changed: the copy is an overlay in memory.
set -eu
cd "$(dirname "$0")/../.."

[ "$(id -u)" = 0 ] || { echo "this test boots a container: run it as root" >&2; exit 1; }
command -v systemd-nspawn >/dev/null || { echo "this test needs systemd-container: run tests/tools.sh" >&2; exit 1; }

folder=$(mktemp -d)
memory=$folder/memory
root=$memory/root
nspawn=
clean() {
  if [ -n "$nspawn" ]; then
    kill "$nspawn" 2>/dev/null || true
    wait "$nspawn" 2>/dev/null || true
  fi
  ! mountpoint -q "$root" || umount "$root"
  ! mountpoint -q "$memory" || umount "$memory"
  rm -rf "$folder"
}
trap clean EXIT
trap 'exit 1' INT TERM

mkdir "$memory"
mount -t tmpfs tmpfs "$memory" || { echo "this test needs to mount file systems" >&2; exit 1; }
mkdir "$memory/upper" "$memory/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$memory/upper,workdir=$memory/work" "$root"

test=$root/package-test
mkdir "$test"
cp tests/package/inside.sh tests/package/pulls.py "$test"
for version in 1 2; do
  PROFILE=${PROFILE:-dev} packaging/build.sh --fast --deb-version "0.0.$version-1" --output "$test/$version.deb"
done

# A systemd that starts what the test needs, and ends with it.
rm -f "$root/usr/sbin/policy-rc.d"
# The index of man pages is not what is tested, and takes seconds.
rm -f "$root/var/lib/man-db/auto-update"
units=$root/etc/systemd/system
cat > "$units/package-test.target" <<END
[Unit]
Requires=basic.target package-test.service
After=basic.target
AllowIsolate=yes
END
cat > "$units/package-test.service" <<END
[Unit]
After=basic.target
Requires=basic.target
SuccessAction=exit-force
FailureAction=exit-force
[Service]
Type=oneshot
ExecStart=/bin/sh /package-test/inside.sh
StandardOutput=file:/package-test/output
StandardError=inherit
TimeoutStartSec=150
END
systemd-nspawn --quiet --register=no --keep-unit --machine=headwater-test --directory="$root" --private-network \
  --console=pipe --boot systemd.unit=package-test.target systemd.log_level=warning systemd.show_status=no \
  < /dev/null > "$folder/console" 2>&1 &
nspawn=$!
wait "$nspawn" || true
nspawn=
cat "$test/output" 2>/dev/null || true
if [ ! -e "$test/passed" ]; then
  echo "--- the console"
  tail -n 30 "$folder/console"
  echo "the package does not keep its promises" >&2
  exit 1
fi
