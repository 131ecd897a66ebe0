#!/bin/bash
# Installs what building (and testing) unreel needs on Debian 12 or Ubuntu, as root or with sudo.
# Only what is missing is installed; nothing happens if all is there.
#
#   tools/setup.sh [GROUP...]     groups: build (default), test, long
set -euo pipefail

build_packages=(
    gcc g++ libc6-dev meson ninja-build pkg-config
    libdnnl-dev                        # matrix products and convolutions
    libsentencepiece-dev libutf8proc-dev # prompts
    libyaml-dev                        # configuration files
    libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev
    gstreamer1.0-plugins-base gstreamer1.0-plugins-good # appsrc, mp4mux, PNG, JPEG
    gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly  # h264parse, WebP; x264enc
    libsoup-3.0-dev libgstreamer-plugins-bad1.0-dev gstreamer1.0-nice # the browser page
    libsdl2-dev libsdl2-ttf-dev libfontconfig-dev fonts-dejavu-core    # the preview window
)
test_packages=(git python3 python3-numpy ffmpeg openmpi-bin binutils gstreamer1.0-libav gstreamer1.0-tools
    nginx libnginx-mod-rtmp # an RTMP server
    chromium openssl        # the browser page
    xvfb xdotool imagemagick) # the preview window
long_packages=(clang libclang-rt-dev
    gcc-aarch64-linux-gnu g++-aarch64-linux-gnu qemu-user) # another processor

usage() {
    sed -n '2,5s/^# \{0,1\}//p' "$0"
    exit "$1"
}

wanted=()
for group in "${@:-build}"; do
    case $group in
    build) wanted+=("${build_packages[@]}") ;;
    test) wanted+=("${test_packages[@]}") ;;
    long) wanted+=("${long_packages[@]}") ;;
    -h | --help) usage 0 ;;
    *) echo "setup.sh: there is no group '$group'" >&2 && usage 2 >&2 ;;
    esac
done

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "setup.sh: this is no Debian or Ubuntu; needed here: ${wanted[*]}" >&2
    exit 1
fi

missing=()
for package in "${wanted[@]}"; do
    state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "setup.sh: run as root, needed: ${missing[*]}" >&2; exit 1; }
    as_root=(sudo)
fi

install_missing() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends "${missing[@]}" </dev/null
}

echo "setup.sh: installing ${missing[*]}"
# Lists of packages that are missing or old make the first try fail.
if ! install_missing >/tmp/unreel-setup.$$ 2>&1; then
    "${as_root[@]}" apt-get update -q </dev/null
    install_missing
fi
rm -f /tmp/unreel-setup.$$
