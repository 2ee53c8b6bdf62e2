#!/bin/sh
# Pre-trains on the photographs of the Debian package lomiri-wallpapers-16.04 and writes demo/reassembled.png and
# demo/curve.svg.  PHOTOGRAPHS=FOLDER takes others.
#     examples/pretrain/demo.sh BUILD_DIR [options of the trainer]
set -eu
trainer=$1/examples/pretrain/pretrain
shift
[ -x "$trainer" ] || {
    echo "demo.sh: no $trainer; install a CBLAS and stb (Debian: libopenblas-openmp-dev libstb-dev) and build again" >&2
    exit 1
}

# The package shares its folder with other wallpapers, which would change the result.
if [ -z "${PHOTOGRAPHS:-}" ]; then
    PHOTOGRAPHS=demo/photographs
    mkdir -p "$PHOTOGRAPHS"
    dpkg -L lomiri-wallpapers-16.04 | grep '\.jpg$' | while read -r photograph; do
        ln -sf "$photograph" "$PHOTOGRAPHS"
    done
fi
# Threads that wait give up their core: on a busy machine spinning costs far more than it saves.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
exec "$trainer" --out demo "$@" "$PHOTOGRAPHS"
