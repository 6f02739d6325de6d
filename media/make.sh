#!/usr/bin/env bash
# Makes the test card that a node shows in its demo room: testcard.ivf (VP8, 640x360, 30 frames a second) and
# testcard.ogg (Opus, 20 ms packets). Both last exactly ten seconds and join without a seam: everything that moves
# comes back to where it began, and the sound is silent at the joint.
#
# Needs ffmpeg with libvpx and libopus, and the DejaVu fonts (Debian: ffmpeg fonts-dejavu-core fonts-dejavu-extra).
# Usage: media/make.sh [OUTPUT_DIRECTORY]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here}
fonts=${FONTS:-/usr/share/fonts/truetype/dejavu}
title_font=$fonts/DejaVuSerif-Italic.ttf
text_font=$fonts/DejaVuSans-ExtraLight.ttf
clock_font=$fonts/DejaVuSansMono.ttf
for font in "$title_font" "$text_font" "$clock_font"; do
    [ -r "$font" ] || { echo "make.sh: no font at $font; set FONTS to the DejaVu directory" >&2; exit 1; }
done

frames=300
# 10 s at 48 kHz less the encoder's delay of 312 samples: with it the stream fills 500 packets to the last sample.
samples=$((480000 - 312))

# The haze: three clouds of colour on a slow round. Drawn small and enlarged, which is what makes it soft.
turn="2*PI*N/$frames"
cloud() { # x y radius, in fractions of the picture
    echo "exp(-(pow((X/W-($1))*1.78,2)+pow(Y/H-($2),2))/pow($3,2))"
}
amber=$(cloud "0.30+0.16*cos($turn)" "0.38+0.20*sin($turn)" 0.42)
teal=$(cloud "0.72+0.14*cos($turn+2.1)" "0.62+0.20*sin($turn+2.1)" 0.50)
rose=$(cloud "0.55+0.22*sin($turn)" "0.15+0.14*cos($turn)" 0.34)
haze="geq=r='22+96*$amber+10*$teal+66*$rose':g='19+62*$amber+58*$teal+34*$rose':b='27+34*$amber+66*$teal+58*$rose'"

# The dial: a hand that goes round once in a loop, the sector behind it, ten ticks and a ring.
far="hypot(X-100,Y-100)"
hand="between((X-100)*sin($turn)-(Y-100)*cos($turn),0,84)*clip(2-abs((X-100)*cos($turn)+(Y-100)*sin($turn)),0,1)"
behind="lt(mod(atan2(X-100,100-Y)+2*PI,2*PI),$turn)*lt($far,84)"
ticks="between($far,76,88)*clip(2.2-$far*abs(sin(5*atan2(X-100,100-Y)))/5,0,1)"
ring="clip(2-abs($far-92),0,1)"
hub="clip(6-$far,0,1)"
dial="geq=r=246:g=232:b=212:a='255*clip(max(max($hand,$hub),max(0.75*$ring,0.6*$ticks))+0.13*$behind,0,1)'"

# A lamp lit for the first three frames of each second, with the beep: lips and sound can be compared.
lamp="geq=r=255:g=214:b=150:a='255*clip(11-hypot(X-12,Y-12),0,1)*lt(mod(N,30),3)'"
# A ball on a rail: there and back twice in a loop.
ball="geq=r=246:g=232:b=212:a='255*clip(7-hypot(X-8,Y-8),0,1)'"

bars=""
i=0
for colour in 0xE8DDCB 0xD9B36C 0x7FA9A3 0x8FA86B 0xA886A8 0xB8604F 0x4F6C9A 0x1B1920; do
    bars+=",drawbox=x=$((40 + i * 70)):y=306:w=70:h=26:color=$colour:t=fill"
    i=$((i + 1))
done

words="drawtext=fontfile=$title_font:text=Sfumato:fontsize=66:fontcolor=0xF6E8D4:x=288:y=56"
words+=",drawtext=fontfile=$text_font:text='test card  640 × 360  VP8 + Opus':fontsize=17:fontcolor=0xF6E8D4@0.85:x=292:y=136"
words+=",drawtext=fontfile=$clock_font:text='%{eif\:floor(n/30)\:d\:2}s %{eif\:mod(n\,30)\:d\:2}f':fontsize=54:fontcolor=0xF6E8D4:x=290:y=180"

ffmpeg -v error -y \
    -f lavfi -i "color=black:s=160x90:r=30:d=10,format=gbrp,$haze,scale=640:360:flags=bicubic,format=gbrp" \
    -f lavfi -i "color=black:s=200x200:r=30:d=10,format=rgba,$dial" \
    -f lavfi -i "color=black:s=24x24:r=30:d=10,format=rgba,$lamp" \
    -f lavfi -i "color=black:s=16x16:r=30:d=10,format=rgba,$ball" \
    -filter_complex "[0]drawbox=x=40:y=285:w=560:h=2:color=0xF6E8D4@0.5:t=fill$bars,$words[card];
        [card][1]overlay=x=60:y=44:format=gbrp[a];[a][2]overlay=x=572:y=196:format=gbrp[b];
        [b][3]overlay=x='40+272-272*cos(2*PI*n/150)':y=278:format=gbrp,format=yuv420p" \
    -frames:v $frames \
    -c:v libvpx -b:v 430k -minrate 200k -maxrate 700k -bufsize 860k -qmin 4 -qmax 50 \
    -g 15 -keyint_min 15 -auto-alt-ref 0 -lag-in-frames 0 -deadline good -cpu-used 0 -threads 1 \
    -fflags +bitexact -flags:v +bitexact "$out/testcard.ivf"

# A soft chord that swells and fades within the loop, and a bell each second, an octave higher at the start of the loop.
swell="pow(sin(PI*t/10),2)"
chord="0.030*sin(2*PI*220*t)+0.022*sin(2*PI*330*t)+0.016*sin(2*PI*440*t*1.001)"
bell="0.14*exp(-9*mod(t,1))*min(1,mod(t,1)*400)*sin(2*PI*if(lt(t,1),1760,880)*mod(t,1))"
ffmpeg -v error -y \
    -f lavfi -i "aevalsrc='$swell*($chord)+$bell':s=48000:d=10" -af "atrim=end_sample=$samples" \
    -c:a libopus -b:a 40k -vbr on -application audio -frame_duration 20 -ac 1 \
    -map_metadata -1 -fflags +bitexact -flags:a +bitexact "$out/testcard.ogg"

# What was made is what was meant: 300 frames with a key frame each 15, 500 packets, both decodable.
keys=$(ffprobe -v error -show_entries packet=flags -of csv=p=0 "$out/testcard.ivf" | awk '/K/ { if (NR % 15 != 1) exit 1; k++ } END { print k + 0 }')
all=$(ffprobe -v error -count_frames -show_entries stream=nb_read_frames -of csv=p=0 "$out/testcard.ivf")
packets=$(ffprobe -v error -count_packets -show_entries stream=nb_read_packets -of csv=p=0 "$out/testcard.ogg")
ffmpeg -v error -xerror -i "$out/testcard.ivf" -i "$out/testcard.ogg" -map 0 -map 1 -f null -
[ "$all" = $frames ] && [ "$keys" = 20 ] && [ "$packets" = 500 ] ||
    { echo "make.sh: $all frames, $keys key frames, $packets packets; 300, 20 and 500 were meant" >&2; exit 1; }
bytes=$(cat "$out/testcard.ivf" "$out/testcard.ogg" | wc -c)
[ "$bytes" -lt 700000 ] || { echo "make.sh: $bytes bytes are more than 700,000" >&2; exit 1; }
echo "testcard: $all frames, $keys key frames, $packets audio packets, $bytes bytes"
