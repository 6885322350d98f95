#!/bin/sh
# Builds the program by which BadgerDB takes part, `target/badger` in the folder above, with what
# Debian has: Go, and the sources of BadgerDB 2.2007 and of all it needs. Nothing is downloaded but
# these packages, and only those that are missing.
set -eu

badger=golang-github-dgraph-io-badger-dev
"$(dirname "$0")/../install.sh" golang-go "$badger"
version=$(dpkg-query -W -f='${Version}' "$badger")
case $version in
2.2007.*) ;;
*)
    echo "build.sh: $badger is of version $version here: the program wants 2.2007" >&2
    exit 1
    ;;
esac

cd "$(dirname "$0")"
mkdir -p ../target
# Debian's packages are a GOPATH, not modules. C would only be wanted for ZSTD, which is not used.
export GO111MODULE=off GOPATH=/usr/share/gocode CGO_ENABLED=0 GOFLAGS=
go build -trimpath -buildvcs=false -ldflags "-X main.version=$version" -o ../target/badger .
