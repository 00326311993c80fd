#!/usr/bin/env bash
# What a release consists of. Usage: release.sh dist|sbom|audit
set -euo pipefail
cd "$(dirname "$0")/.."

tools=.build/release/bin

install_tools() {
    scripts/setup.sh dev
    cmp -s requirements/release.txt .build/release/installed && return
    rm -rf .build/release
    .venv/bin/python -m venv .build/release
    "$tools/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/release.txt
    cp requirements/release.txt .build/release/installed
}

case ${1:-} in
    dist)
        scripts/setup.sh dev
        rm -f dist/*.whl dist/*.tar.gz
        # Times in the archives are the commit's, so that two builds are the same bytes.
        SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)} \
            .venv/bin/python -m hatchling build --directory dist --target wheel --target sdist
        ;;
    sbom)
        "$0" dist
        install_tools
        # An environment with the wheel, its locked dependencies, and nothing else, not even pip.
        rm -rf .build/sbom
        .venv/bin/python -m venv --without-pip .build/sbom
        pip=("$tools/python" -m pip --quiet --disable-pip-version-check --python .build/sbom/bin/python install)
        "${pip[@]}" --require-hashes -r requirements/runtime.txt
        "${pip[@]}" --no-deps dist/*.whl
        "$tools/cyclonedx-py" environment --output-reproducible \
            --of JSON -o dist/netvol-exporter.cdx.json .build/sbom/bin/python
        ;;
    audit)
        install_tools
        # --strict: a package that could not be asked about is no package without vulnerabilities.
        for lock in requirements/ssh.txt requirements/runtime.txt; do
            "$tools/pip-audit" --strict --disable-pip --require-hashes -r "$lock"
        done
        ;;
    *)
        echo "release.sh dist|sbom|audit" >&2
        exit 2
        ;;
esac
