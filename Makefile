# make test     installs what the tests need (Debian), then runs them all
# make test-package  builds the Debian package, and installs, upgrades and removes it on a systemd of its own (as root)
# make deb      builds the Debian package
# make soak     everything goes wrong at once for ten minutes (SOAK=30s for less), and chance writes requests for two
# make fuzz     AFL against what reads strangers' bytes, a minute for each part (FUZZ=600 for ten)
# make lint     formatting, clippy, documentation
# make bench    installs what the benches need (Debian), then micro benches, then side by side with the peers
# make networks reads the vendors' published lists anew

CARGO ?= cargo

.PHONY: test test-tools test-package deb lint bench bench-tools networks

test: test-tools
	$(CARGO) test --workspace --locked

test-tools:
	tests/tools.sh

test-package: test-tools
	tests/package/run.sh

deb:
	packaging/build.sh

SOAK ?= 10m
soak:
	$(CARGO) build --release --locked
	HEADWATER_BIN="$${CARGO_TARGET_DIR:-target}/release/headwater" SOAK=$(SOAK) CHANCE_SECONDS=120 \
	  $(CARGO) test --locked --test promises -- --nocapture --test-threads 1 soak:: corpus::mutate

FUZZ ?= 60
fuzz:
	$(CARGO) afl --version >/dev/null 2>&1 || $(CARGO) install cargo-afl --locked
	fuzz/run.sh $(FUZZ)

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --features headwater-proxy/micro --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked

bench: bench-tools
	$(CARGO) bench -p headwater-proxy --features micro --locked
	$(CARGO) build --release --locked
	python3 benches/side_by_side/run.py

bench-tools:
	benches/side_by_side/tools.sh

networks:
	$(CARGO) build --locked
	for vendor in fastly cloudflare cloudfront bunny; do \
	  list=crates/config/networks/$$vendor.txt; \
	  curl -fsS "$$(sed -n 's/^# source: //p' $$list)" | target/debug/headwater networks import $$vendor > $$list.new \
	    && mv $$list.new $$list || exit 1; \
	done
