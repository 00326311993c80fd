#!/usr/bin/env bash
# Gets what the tests of the images need from outside, if it is not there yet, since their engine has no way out: a
# root file system of this machine's distribution with Python, in place of the base that can't be pulled, and the
# locked packages. Needs root, so that the files get their owners.
set -euo pipefail
cd "$(dirname "$0")/../.."

images=.build/images
stamp=$(cat "$0" requirements/build.txt requirements/runtime.txt | sha256sum)
if [ "$(cat $images/stamp 2>/dev/null)" = "$stamp" ]; then
    exit
fi
rm -rf $images
mkdir -p $images/wheels
echo "making the base of the images and getting the packages; this takes a minute" >&2

# The mirror is the one that this machine uses.
. /etc/os-release
apt-get update -q >$images/log
apt-get indextargets --format "deb \$(REPO_URI) \$(RELEASE) \$(COMPONENT)" "Created-By: Packages" "Origin: ${ID^}" |
    grep -E " $VERSION_CODENAME(-updates|-security)? " | sort -u >$images/sources.list ||
    { echo "netvol-exporter: this machine's apt has no sources for $PRETTY_NAME" >&2; exit 1; }
# As in Docker's own Python images there are no documents, and no byte code. busybox stands for the one in Prometheus'.
mmdebstrap --variant=minbase --keyring="/usr/share/keyrings/$ID-archive-keyring.gpg" \
    --include=python3,python3-venv,ca-certificates,busybox-static \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='find "$1/usr/lib/python3"* -name __pycache__ -prune -exec rm -rf {} +' \
    "$VERSION_CODENAME" $images/base.tar $images/sources.list >>$images/log 2>&1 ||
    { tail -20 $images/log >&2; exit 1; }

for file in build runtime; do
    .venv/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
        --dest $images/wheels -r requirements/$file.txt
done
echo "$stamp" >$images/stamp
