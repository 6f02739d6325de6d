#!/usr/bin/env bash
# Installs what the end-to-end tests need on Debian or Ubuntu. May be run again and again; needs root for apt.
set -euo pipefail
cd "$(dirname "$0")"

missing=()
for pair in chromium:chromium firefox-esr:firefox-esr nft:nftables ip:iproute2 nsenter:util-linux; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
# GStreamer with webrtcbin, VP8, H.264 and Opus, and its binding for the system's Python.
gstreamer=(python3-gst-1.0 gir1.2-gst-plugins-bad-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
    gstreamer1.0-plugins-ugly gstreamer1.0-nice gstreamer1.0-libav)
/usr/bin/python3 clients/gstreamer/client.py --check 2>/dev/null || missing+=("${gstreamer[@]}")
if [ ${#missing[@]} -gt 0 ]; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update
    apt-get install -y --no-install-recommends "${missing[@]}" fonts-dejavu-core
fi

# An ffmpeg with the WHIP muxer: distributions have older ones.
python3 -c 'import imageio_ffmpeg' 2>/dev/null ||
    python3 -m pip install --quiet "imageio-ffmpeg>=0.8.1" 2>/dev/null ||
    python3 -m pip install --quiet --break-system-packages "imageio-ffmpeg>=0.8.1"

npm ci --no-audit --no-fund
