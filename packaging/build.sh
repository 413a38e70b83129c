#!/bin/sh
# Builds the Debian package, into target/debian. Arguments go to cargo-deb, for example --deb-version 1.2.3-1.
# PROFILE=dev packs what `cargo build` builds, for tests.
set -eu
cd "$(dirname "$0")/.."

wanted=3.8.0
profile=${PROFILE:-release}
case $profile in dev) folder=debug ;; *) folder=$profile ;; esac
tools=$PWD/target/tools

PATH=$tools/bin:$PATH
if [ "$(cargo deb --version 2>/dev/null)" != "cargo-deb $wanted" ]; then
  echo "installing cargo-deb $wanted into $tools"
  CARGO_TARGET_DIR=target/tools/build cargo install --quiet --locked --root "$tools" cargo-deb@"$wanted"
  rm -rf target/tools/build
fi

# A panic shows paths of the sources. They are to be the sources' own, not those of the machine that built the package. Cargo's own
# way to do so (trim-paths) is not stable yet, and in a file of settings the machine's paths cannot be named. 037 is what cargo
# divides the flags by.
if [ "$profile" = release ]; then
  cargo_home=${CARGO_HOME:-$HOME/.cargo}
  export CARGO_ENCODED_RUSTFLAGS="$(printf '%s\037' --remap-path-prefix "$cargo_home/registry/src=registry" \
    --remap-path-prefix)$PWD=."
fi
cargo build --quiet --locked --profile "$profile"
headwater=${CARGO_TARGET_DIR:-target}/$folder/headwater

# What the command line says of itself.
made=target/package
rm -rf "$made"
mkdir -p "$made"
"$headwater" man --out "$made/man"
for shell in bash zsh fish; do
  "$headwater" completions "$shell" > "$made/headwater.$shell"
done

# Debian wants one in its own form; what is told to users stands in CHANGELOG.md.
cat > "$made/changelog" <<END
headwater ($("$headwater" --version | cut -d' ' -f2)-1) unstable; urgency=medium

  * What has changed: /usr/share/doc/headwater/NEWS.md

 -- The Headwater authors <authors@headwater.dev>  $(date -R)
END

cargo deb --quiet --no-build --profile "$profile" "$@"
