#!/usr/bin/env bash
# Makes the clips that bots send: three seconds of a flight into the Mandelbrot set, 30 frames a second, one key frame at
# the start, so that a publisher can go back to it whenever one is asked for.
#   low.ivf, mid.ivf, high.ivf   VP8 at 320x180, 640x360, 1280x720: three layers of one picture
#   clip.h264                    H.264 constrained baseline, Annex B with access unit delimiters, 640x360
# Sound is ../../media/testcard.ogg.
#
# Needs ffmpeg with libvpx and libx264. Usage: loadtest/media/make.sh [OUTPUT_DIRECTORY]
set -euo pipefail

out=${1:-$(cd "$(dirname "$0")" && pwd)}
frames=90
picture="mandelbrot=size=1280x720:rate=30:start_scale=0.5:end_scale=0.02:end_pts=400:maxiter=300"
exact=(-fflags +bitexact -flags:v +bitexact -threads 1)

vp8() { # name size bits per second
    ffmpeg -v error -y -f lavfi -i "$picture" -frames:v $frames -vf "scale=$2,format=yuv420p" \
        -c:v libvpx -b:v "$3" -maxrate "$3" -bufsize "$3" -g 9999 -keyint_min 9999 -auto-alt-ref 0 -lag-in-frames 0 \
        -deadline realtime -cpu-used 4 "${exact[@]}" "$out/$1.ivf"
}
vp8 low 320:180 130k
vp8 mid 640:360 400k
vp8 high 1280:720 1000k

ffmpeg -v error -y -f lavfi -i "$picture" -frames:v $frames -vf "scale=640:360,format=yuv420p" \
    -c:v libx264 -profile:v baseline -level 3.1 -preset medium -tune zerolatency -b:v 500k -maxrate 500k -bufsize 250k -bf 0 \
    -x264-params "keyint=infinite:scenecut=0:aud=1:sliced-threads=0:slices=1:annexb=1" "${exact[@]}" "$out/clip.h264"

for clip in low.ivf mid.ivf high.ivf clip.h264; do
    keys=$(ffprobe -v error -show_entries packet=flags -of csv=p=0 "$out/$clip" | grep -c K || true)
    all=$(ffprobe -v error -count_frames -show_entries stream=nb_read_frames -of csv=p=0 "$out/$clip" | head -1)
    [ "$all" = $frames ] && [ "$keys" = 1 ] ||
        { echo "make.sh: $clip has $all frames and $keys key frames; $frames and 1 were meant" >&2; exit 1; }
    echo "$clip: $all frames, $(wc -c < "$out/$clip") bytes"
done
