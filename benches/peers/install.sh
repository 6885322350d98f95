#!/bin/sh
# Installs those of the named packages that are missing, on Debian and Ubuntu. Does nothing where
# all are there.
set -eu

missing=
for package in "$@"; do
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) || status=
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
command -v apt-get >/dev/null || {
    echo "install.sh: there is no apt-get here, and missing is$missing, or the like" >&2
    exit 1
}
root=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || {
        echo "install.sh: run it as root: it installs$missing" >&2
        exit 1
    }
    root=sudo
fi
# On a bare machine no lists of packages are there yet.
$root apt-get update
# shellcheck disable=SC2086 # several packages
$root apt-get install -y --no-install-recommends $missing
