#!/bin/sh
# What building with `--features rocksdb` wants beside Rust, on Debian and Ubuntu: libclang, by which
# its bindings are made, and a C++ compiler that knows C++20. All other stores make do with the C
# compiler that Rust itself links by. Does nothing where both are there.
set -eu

"$(dirname "$0")/install.sh" libclang-dev g++
echo | g++ -std=c++20 -fsyntax-only -x c++ - || {
    echo "setup.sh: RocksDB wants a g++ that knows C++20: 11 or newer" >&2
    exit 1
}
