#!/bin/sh
# What building with `--features rocksdb` wants on Debian and Ubuntu, beside Rust: libclang, by which
# its bindings are made, and a C++ compiler. Nothing else here needs it.
set -eu
exec apt-get install -y --no-install-recommends libclang-dev g++
