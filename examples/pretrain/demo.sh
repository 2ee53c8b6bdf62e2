#!/bin/sh
# Pre-trains on the photographs of the Debian package lomiri-wallpapers-16.04, or of the folder that PHOTOGRAPHS names,
# and writes demo/reassembled.png and demo/curve.svg.
#     examples/pretrain/demo.sh BUILD_DIR [options of the trainer]
set -eu
trainer=$1/examples/pretrain/pretrain
shift
[ -x "$trainer" ] || {
    echo "demo.sh: there is no $trainer; install a CBLAS and stb, then set up the build anew" >&2
    echo "(Debian: libopenblas-openmp-dev libstb-dev; the output of meson setup says what it misses)" >&2
    exit 1
}

# The package shares its folder with other wallpapers, which would change the result: hence a folder of links.
photographs=${PHOTOGRAPHS:-demo/photographs}
if [ -z "${PHOTOGRAPHS:-}" ]; then
    mkdir -p "$photographs"
    list=$(dpkg -L lomiri-wallpapers-16.04 2>/dev/null | grep '\.jpg$') || {
        echo "demo.sh: install lomiri-wallpapers-16.04, or set PHOTOGRAPHS to a folder of photographs" >&2
        exit 1
    }
    echo "$list" | while read -r file; do
        ln -sf "$file" "$photographs"
    done
fi

# Threads that wait give up their core: on a busy machine spinning costs far more than it saves.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
exec "$trainer" --out demo "$@" "$photographs"
