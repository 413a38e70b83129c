#!/bin/sh
# What the package promises, step by step, on a machine with a systemd of its own.
set -eu
cd /package-test
export DEBIAN_FRONTEND=noninteractive

step() { echo "- $*"; }
fail() {
  echo "FAILED: $*"
  systemctl status --no-pager --full headwater.service || true
  journalctl --no-pager -u headwater.service | tail -n 40 || true
  exit 1
}
show() { systemctl show --property="$1" --value headwater.service; }
pid() { show MainPID; }
until_true() {
  what=$1
  shift
  for _ in $(seq 200); do
    ! "$@" >/dev/null 2>&1 || return 0
    sleep 0.1
  done
  fail "waited in vain: $what"
}
is_up() { curl -fsS -m 5 -o /dev/null http://127.0.0.1:9180/readyz; }
pulls() { curl -fsS -m 5 "http://127.0.0.1:$1/page" | cmp -s - www/page; }
is_gone() { [ ! -e "/proc/$1" ]; }
is_another() { [ "$(pid)" != "$1" ] && [ "$(pid)" != 0 ]; }
upgrade() { systemctl kill --signal=USR2 --kill-who=main headwater.service; }
figure() { curl -fsS -m 5 http://127.0.0.1:9180/metrics | sed -n "s/^headwater_upgrades_total{result=\"$1\"} //p"; }
traces() { find /etc /usr/bin /usr/lib/systemd /usr/share /var/log /var/lib -name '*headwater*' ! -path '/var/lib/dpkg/*'; }

[ -z "$(traces)" ] || fail "something of Headwater was here before: $(traces)"
mkdir www
head -c 30000 /dev/zero | tr '\0' x > www/page
python3 -m http.server --directory www --bind 127.0.0.1 8000 >/dev/null 2>&1 &
until_true "the origin answers" curl -fsS -o /dev/null http://127.0.0.1:8000/page

step "installs and starts"
dpkg -i 1.deb >/dev/null
[ "$(show ActiveState)" = active ] || fail "it does not run"
systemctl --quiet is-enabled headwater.service || fail "it does not start at boot"
is_up || fail "it is not ready"
pulls 8080 || fail "a pull does not pass"
[ "$(stat -c %U "/proc/$(pid)")" = headwater ] || fail "it runs as somebody else"
[ "$(stat -c %U:%G:%a /etc/headwater)" = root:headwater:750 ] || fail "secrets lie open"
ss -Hltnp | grep headwater | awk '{ print $4 }' | sort > listens
printf '127.0.0.1:8080\n127.0.0.1:9180\n' | cmp -s - listens || fail "it listens elsewhere: $(cat listens)"

# A machine may itself allow fewer descriptors than the unit asks for.
! journalctl --no-pager -u headwater.service | grep -E 'WARN|ERROR' | grep -v LimitNOFILE || fail "it complains"

step "brings its manual and completions"
zcat /usr/share/man/man1/headwater-serve.1.gz | grep -q linger || fail "no man page"
bash -c '. /usr/share/bash-completion/completions/headwater && complete -p headwater' >/dev/null || fail "no completions"
[ -s /usr/share/zsh/vendor-completions/_headwater ] || fail "no completions for zsh"
[ -s /usr/share/fish/vendor_completions.d/headwater.fish ] || fail "no completions for fish"

step "reloads"
first=$(pid)
systemctl reload headwater.service
until_true "it has reloaded" sh -c 'journalctl --no-pager -u headwater.service | grep -q "reloaded policy"'
[ "$(pid)" = "$first" ] && [ "$(show SubState)" = running ] || fail "a reload ended it"

step "rotates its log"
until_true "pulls are logged" grep -q 'GET /page' /var/log/headwater/access.log
logrotate --force /etc/logrotate.d/headwater
pulls 8080
until_true "the new log is written to" grep -q 'GET /page' /var/log/headwater/access.log
[ -e /var/log/headwater/access.log.1 ] || fail "the old log is gone"

step "upgrades in place, and no pull fails"
python3 pulls.py 8080 > pulls.out &
puller=$!
sleep 1
dpkg -i 2.deb >/dev/null
second=$(pid)
[ "$second" != "$first" ] || fail "the old process serves still"
[ "$(readlink "/proc/$second/exe")" = /usr/bin/headwater ] || fail "the successor is not what was installed"
until_true "the old process has left" is_gone "$first"
sleep 1
kill "$puller"
wait "$puller"
[ "$(wc -l < pulls.out)" = 1 ] || fail "pulls failed: $(cat pulls.out)"
[ "$(cat pulls.out)" -gt 200 ] || fail "hardly a pull was made: $(cat pulls.out)"
echo "  $(cat pulls.out) pulls"
[ "$(show ActiveState)/$(show SubState)/$(show NRestarts)" = active/running/0 ] || fail "systemd has lost it"
[ "$(figure ok)" = 1 ] || fail "the upgrade is not counted"
[ "$(dpkg-query -W -f '${Version}' headwater)" = 0.0.2-1 ] || fail "another version is installed"

step "goes on serving when the new version does not start"
cp -p /etc/headwater/headwater.toml good.toml
echo 'nonsense = 1' >> /etc/headwater/headwater.toml
dpkg -i --force-confold 1.deb > dpkg.out 2>&1 || fail "dpkg: $(cat dpkg.out)"
grep -q 'the old one goes on serving' dpkg.out || fail "nobody is told: $(cat dpkg.out)"
[ "$(pid)" = "$second" ] || fail "another process serves"
pulls 8080 || fail "it is gone"
cp -p good.toml /etc/headwater/headwater.toml

step "takes another address without a restart, a low one too"
sed -i 's/"127.0.0.1:8080"/"127.0.0.1:80", "127.0.0.1:8080"/' /etc/headwater/headwater.toml
upgrade
until_true "a successor serves" is_another "$second"
third=$(pid)
pulls 80 || fail "it does not listen on port 80"
pulls 8080 || fail "it listens no longer on port 8080"
until_true "the old process has left" is_gone "$second"

step "is watched, the successor too"
kill -KILL "$third"
until_true "systemd restarts what crashed" is_another "$third"
until_true "it is ready" is_up
[ "$(show NRestarts)" = 1 ] || fail "restarts: $(show NRestarts)"
mkdir -p /etc/systemd/system/headwater.service.d
printf '[Service]\nWatchdogSec=2s\nTimeoutAbortSec=1s\n' > /etc/systemd/system/headwater.service.d/test.conf
systemctl daemon-reload
systemctl restart headwater.service
before=$(pid)
upgrade
until_true "a successor serves" is_another "$before"
fourth=$(pid)
sleep 3
[ "$(pid)" = "$fourth" ] || fail "the watchdog bites without a cause"
kill -STOP "$fourth"
until_true "systemd restarts what hangs" is_another "$fourth"
until_true "it is ready" is_up
rm -r /etc/systemd/system/headwater.service.d
systemctl daemon-reload

step "takes its sockets from systemd, and a restart refuses nobody"
systemctl stop headwater.service
sed -e 's/0.0.0.0:80/127.0.0.1:80\nListenStream=127.0.0.1:8080/' /usr/share/doc/headwater/examples/headwater.socket \
  > /etc/systemd/system/headwater.socket
systemctl daemon-reload
systemctl start headwater.socket headwater.service
python3 pulls.py 80 > pulls.out &
puller=$!
sleep 1
systemctl restart headwater.service
sleep 1
kill "$puller"
wait "$puller"
! grep -q Refused pulls.out || fail "a connection was refused: $(cat pulls.out)"
pulls 80 || fail "a socket is not served"
pulls 8080 || fail "a socket is not served"
before=$(pid)
upgrade
until_true "a successor serves" is_another "$before"
pulls 80 || fail "the successor has not got the socket"
systemctl stop headwater.socket headwater.service
rm /etc/systemd/system/headwater.socket
systemctl daemon-reload
systemctl start headwater.service

step "is removed: nothing runs, the configuration and the logs stay"
last=$(pid)
dpkg -r headwater >/dev/null
is_gone "$last" || fail "it runs still"
[ ! -e /usr/bin/headwater ] || fail "the program is left"
[ -s /etc/headwater/headwater.toml ] && [ -s /var/log/headwater/access.log ] || fail "too much was removed"

step "is installed again over what stayed"
dpkg -i 2.deb >/dev/null
grep -q '127.0.0.1:80"' /etc/headwater/headwater.toml || fail "the configuration was replaced"
pulls 80 || fail "a pull does not pass"

step "is purged: nothing is left but what is not its own"
touch /etc/headwater/pull.key
dpkg -P headwater >/dev/null 2>&1
[ "$(traces)" = /etc/headwater ] && [ "$(ls -A /etc/headwater)" = pull.key ] || fail "this is left: $(traces)"
! getent passwd headwater >/dev/null || fail "the user is left"

touch passed
echo "the package keeps its promises"
