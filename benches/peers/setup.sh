#!/bin/sh
# What building with `--features rocksdb` wants beside Rust, on Debian and Ubuntu: libclang, by which
# its bindings are made, and a C++ compiler that knows C++20. All other stores make do with the C
# compiler that Rust itself links by. Does nothing where both are there.
set -eu

missing=
for package in libclang-dev g++; do
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) || status=
    [ "$status" = installed ] || missing="$missing $package"
done
if [ -n "$missing" ]; then
    command -v apt-get >/dev/null || {
        echo "setup.sh: there is no apt-get here: install libclang and a C++ compiler" >&2
        exit 1
    }
    root=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || {
            echo "setup.sh: run it as root: it installs$missing" >&2
            exit 1
        }
        root=sudo
    fi
    # On a bare machine no lists of packages are there yet.
    $root apt-get update
    # shellcheck disable=SC2086 # several packages
    $root apt-get install -y --no-install-recommends $missing
fi
echo | g++ -std=c++20 -fsyntax-only -x c++ - || {
    echo "setup.sh: RocksDB wants a g++ that knows C++20: 11 or newer" >&2
    exit 1
}
