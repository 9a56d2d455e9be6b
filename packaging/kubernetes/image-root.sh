#!/bin/sh
# Makes all that is in the image: the agent, the libraries that it is linked with, and the certificates of public
# authorities. It has no shell and no user but root.
#
#   image-root.sh AGENT FOLDER
set -eu

agent=$1
root=$2

# ldd is told apart by its paths: the kernel's own library has none.
libraries=$(ldd "$agent" | grep -o '/[^ ]*')
for library in $libraries; do
    install -D -m 755 "$library" "$root$library"
done
install -D -m 755 "$agent" "$root/usr/bin/m8refsvr-agent"
install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
