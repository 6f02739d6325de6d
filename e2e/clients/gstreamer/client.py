#!/usr/bin/python3
"""A WHIP publisher and WHEP viewer made of GStreamer's webrtcbin.

    client.py publish URL [--codec VP8|H264|VP9] [--seconds N] [--token T]
    client.py watch   URL [--codec VP8,H264,..]  [--seconds N] [--token T]
    client.py --check                            whether GStreamer has all that this needs

Prints a line of JSON each second; the last one is the result (see clients/README.md for its members). It needs GStreamer 1.22
with its Python binding, that is the system's Python. webrtcbin makes the offer and its DTLS certificate (RSA 2048), and libnice
under it sends no consent checks once it is connected: both are left as they are, since programs built on GStreamer have them so.
"""

import argparse
import json
import signal
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

# What encodes, and how it is cut into packets. Key frames come when somebody asks for them, or once in 100 s.
SENDERS = {
    "VP8": "vp8enc deadline=1 cpu-used=8 target-bitrate=800000 keyframe-max-dist=3000 error-resilient=default"
    " ! rtpvp8pay picture-id-mode=15-bit",
    "VP9": "vp9enc deadline=1 cpu-used=8 target-bitrate=800000 keyframe-max-dist=3000 ! rtpvp9pay picture-id-mode=15-bit",
    "H264": "x264enc tune=zerolatency speed-preset=ultrafast bitrate=800 key-int-max=3000"
    " ! video/x-h264,profile=constrained-baseline ! rtph264pay config-interval=-1 aggregate-mode=zero-latency",
}
RTC = "webrtcbin name=rtc bundle-policy=max-bundle latency=100"
# What a received picture is made to: 32 times 18 pixels in RGB.
PICTURE_BYTES = 32 * 18 * 3
PAYLOAD_TYPES = {"VP8": 96, "H264": 98, "VP9": 100}
# As cameras and hardware encoders do it: Main profile, and parameter sets in the offer alone (RFC 6184 section 8.1).
OUT_OF_BAND = (
    "x264enc tune=zerolatency speed-preset=veryfast bitrate=800 key-int-max=30 option-string=repeat-headers=0 ! video/x-h264,profile=main,stream-format=avc"
    " ! rtph264pay config-interval=0 aggregate-mode=zero-latency"
)

# The ciphers of GStreamer's srtpenc by the names that DTLS-SRTP has for them (RFC 5764 section 4.1.2, RFC 7714 section 14.2).
SRTP_PROFILES = {"aes-128-icm": "AES128_CM_SHA1_80", "aes-128-gcm": "AEAD_AES_128_GCM", "aes-256-gcm": "AEAD_AES_256_GCM"}

# OIDs of the kinds of public keys, as they stand in a certificate in DER.
RSA_KEY = bytes.fromhex("06092a864886f70d010101")
EC_KEY = bytes.fromhex("06072a8648ce3d0201")


def publisher(codec, out_of_band):
    """The text of a pipeline that sends a ball that moves, and a tone."""
    sender = OUT_OF_BAND if out_of_band else SENDERS[codec]
    return (
        f"{RTC}"
        " videotestsrc is-live=true pattern=ball motion=sweep ! video/x-raw,width=640,height=360,framerate=30/1 ! videoconvert"
        f" ! queue ! {sender} name=cut pt={PAYLOAD_TYPES[codec]}"
        f" ! application/x-rtp,media=video,encoding-name={codec},payload={PAYLOAD_TYPES[codec]} ! rtc."
        " audiotestsrc is-live=true freq=440 wave=sine volume=0.3 ! audio/x-raw,rate=48000,channels=2 ! audioconvert ! queue"
        " ! opusenc bitrate=48000 ! rtpopuspay pt=111 ! application/x-rtp,media=audio,encoding-name=OPUS,payload=111 ! rtc."
    )


class Client:
    def __init__(self, options):
        self.options = options
        self.loop = GLib.MainLoop()
        self.began = time.monotonic()
        self.resource = None
        self.error = None
        self.answer = ""
        self.states = []
        self.frames = 0
        self.sound_buffers = 0
        self.first_frame_ms = None
        self.first_picture = None
        self.moved = 0.0
        self.size = None
        self.key_frames = 0
        self.pipeline = Gst.Pipeline()
        text = publisher(options.codec, options.out_of_band) if options.role == "publish" else RTC
        self.media = Gst.parse_bin_from_description(text, False)
        self.pipeline.add(self.media)
        self.rtc = self.pipeline.get_by_name("rtc")
        self.rtc.connect("on-negotiation-needed", self.offer)
        self.rtc.connect("notify::connection-state", self.note_state)
        self.rtc.connect("pad-added", self.decode)
        self.pipeline.connect("deep-element-added", lambda _, __, element: self.look_at_frames(element))
        if options.role == "publish":
            self.look_at_frames(self.pipeline.get_by_name("cut"))
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", self.failed)

    def run(self):
        """Runs for the time that was asked for, or until SIGTERM; gives the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, number, self.loop.quit)
        if self.options.role == "watch":
            self.ask_for_media()
        # Without it webrtcbin neither answers NACKs nor sends any, and each lost packet costs a picture until the next key frame.
        for at in range(2):
            self.rtc.emit("get-transceiver", at).set_property("do-nack", True)
        self.pipeline.set_state(Gst.State.PLAYING)
        GLib.timeout_add(1000, self.report)
        GLib.timeout_add(self.options.seconds * 1000, self.loop.quit)
        self.loop.run()
        self.report()
        if self.resource:
            self.request("DELETE", self.resource)
        self.pipeline.set_state(Gst.State.NULL)
        return 0 if self.error is None else 1

    def ask_for_media(self):
        """One section that receives for each kind of media, with all codecs that were asked for in the one of video."""
        video = Gst.Caps.new_empty()
        for codec in self.options.codec.split(","):
            fields = ",packetization-mode=(string)1,profile-level-id=(string)42e01f" if codec == "H264" else ""
            feedback = ",rtcp-fb-nack=(boolean)true,rtcp-fb-nack-pli=(boolean)true,rtcp-fb-transport-cc=(boolean)true"
            video.append(Gst.Caps.from_string(f"application/x-rtp,media=video,encoding-name={codec},clock-rate=90000,payload={PAYLOAD_TYPES[codec]}{fields}{feedback}"))
        audio = Gst.Caps.from_string("application/x-rtp,media=audio,encoding-name=OPUS,clock-rate=48000,payload=111,encoding-params=(string)2")
        for caps in (video, audio):
            self.rtc.emit("add-transceiver", GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY, caps)

    # From offer to answer. The callbacks of promises run in a thread of webrtcbin, requests over HTTP in the main loop.

    def offer(self, _):
        self.rtc.emit("create-offer", None, Gst.Promise.new_with_change_func(self.offered, None))

    def offered(self, promise, _):
        # The reply owns the offer: without a name of its own it would be gone before the offer is read.
        reply = promise.get_reply()
        offer = reply.get_value("offer")
        self.rtc.emit("set-local-description", offer, Gst.Promise.new())
        GLib.idle_add(self.send_offer, offer.sdp.as_text())

    def send_offer(self, text):
        if self.options.verbose:
            print(text, file=sys.stderr)
        status, headers, body = self.request("POST", self.options.url, text, "application/sdp")
        if status != 201:
            self.error = f"POST {self.options.url}: {status} {body}"
            self.loop.quit()
            return False
        self.resource = urllib.parse.urljoin(self.options.url, headers["Location"])
        self.answer = body
        if self.options.verbose:
            print(body, file=sys.stderr)
        _, message = GstSdp.SDPMessage.new_from_text(body)
        answer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
        self.rtc.emit("set-remote-description", answer, Gst.Promise.new())
        return False

    def request(self, method, url, body=None, content_type=None):
        headers = {"Content-Type": content_type} if content_type else {}
        if self.options.token:
            headers["Authorization"] = f"Bearer {self.options.token}"
        request = urllib.request.Request(url, method=method, data=body.encode() if body else None, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, response.headers, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read().decode()
        except OSError as error:
            return 0, {}, str(error)

    # What comes in.

    def decode(self, _, pad):
        if pad.get_direction() != Gst.PadDirection.SRC:
            return
        decoder = Gst.ElementFactory.make("decodebin")
        decoder.connect("pad-added", self.show)
        self.media.add(decoder)
        decoder.sync_state_with_parent()
        pad.link(decoder.get_static_pad("sink"))

    def show(self, _, pad):
        """Pictures are made small, so that this program can see that they move."""
        video = pad.get_current_caps().get_structure(0).get_name().startswith("video")
        if video:
            structure = pad.get_current_caps().get_structure(0)
            self.size = f"{structure.get_value('width')}x{structure.get_value('height')}"
        text = "videoconvert ! videoscale ! video/x-raw,format=RGB,width=32,height=18 !" if video else "audioconvert !"
        end = Gst.parse_bin_from_description(f"queue ! {text} fakesink name=end signal-handoffs=true sync=false", True)
        end.get_by_name("end").connect("handoff", self.frame if video else self.sound)
        self.media.add(end)
        end.sync_state_with_parent()
        pad.link(end.get_static_pad("sink"))

    def look_at_frames(self, element):
        """Counts the frames that go into a payloader, and the key frames among those that come out of a depayloader."""
        name = element.get_factory().get_name() if element.get_factory() else "bin"
        if name in ("rtpvp8pay", "rtpvp9pay", "rtph264pay"):
            element.get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, self.count_frame)
        elif name in ("rtpvp8depay", "rtpvp9depay", "rtph264depay"):
            element.get_static_pad("src").add_probe(Gst.PadProbeType.BUFFER, self.count_key_frame)

    def count_frame(self, pad, info):
        self.frames += 1
        return self.count_key_frame(pad, info)

    def count_key_frame(self, _, info):
        if not info.get_buffer().has_flags(Gst.BufferFlags.DELTA_UNIT):
            self.key_frames += 1
        return Gst.PadProbeReturn.OK

    def frame(self, _, buffer, __):
        self.frames += 1
        picture = buffer.extract_dup(0, PICTURE_BYTES)
        if self.first_picture is None:
            self.first_picture = picture
            self.first_frame_ms = round((time.monotonic() - self.began) * 1000)
        elif self.frames % 5 == 0:
            self.moved = max(self.moved, sum(abs(a - b) for a, b in zip(picture, self.first_picture)) / PICTURE_BYTES)

    def sound(self, _, __, ___):
        self.sound_buffers += 1

    # What is told.

    def note_state(self, *_):
        state = self.rtc.get_property("connection-state").value_nick
        self.states.append([round((time.monotonic() - self.began) * 1000), state])

    def failed(self, _, message):
        error, detail = message.parse_error()
        self.error = f"{error.message} ({detail})"
        self.loop.quit()

    def report(self):
        promise = Gst.Promise.new()
        self.rtc.emit("get-stats", None, promise)
        promise.wait()
        certificate, profile = self.security()
        line = {
            "client": Gst.version_string(),
            "role": self.options.role,
            "seconds": round(time.monotonic() - self.began, 1),
            "state": self.rtc.get_property("connection-state").value_nick,
            "states": self.states,
            "certificate": certificate,
            "srtp": profile,
            "error": self.error,
            **self.counted(promise.get_reply()),
        }
        print(json.dumps(line), flush=True)
        return True

    def counted(self, stats):
        """Packets as webrtcbin counts them, frames as this program saw them."""
        outbound = self.options.role == "publish"
        wanted, member = ("outbound-rtp", "packets-sent") if outbound else ("inbound-rtp", "packets-received")
        packets = {"video": 0, "audio": 0}
        asked = 0
        for at in range(stats.n_fields()):
            entry = stats.get_value(stats.nth_field_name(at))
            if not isinstance(entry, Gst.Structure) or entry.get_value("type").value_nick != wanted:
                continue
            # In a bundle, GStreamer 1.22 gives the kind and the codec of the last section to all streams; the clock is right.
            clock = entry.get_value("gst-rtpsource-stats").get_value("clock-rate")
            kind = {90000: "video", 48000: "audio"}.get(clock)
            if kind:
                packets[kind] += entry.get_value(member)
                asked += entry.get_value("pli-count")
        frames = {"frames": self.frames, "keyFrames": self.key_frames, "plis": asked}
        seen = {"size": self.size, "moved": round(self.moved, 1), "firstFrameMs": self.first_frame_ms, "sound": self.sound_buffers}
        return {"packets": packets, **frames, **({} if outbound else seen)}

    def security(self):
        """The kind of this client's certificate, and what its SRTP is made with."""
        certificate = profile = None
        elements = self.rtc.iterate_recurse()
        while True:
            result, element = elements.next()
            if result != Gst.IteratorResult.OK:
                return certificate, profile
            name = element.get_factory().get_name() if element.get_factory() else "bin"
            if name == "dtlsdec" and element.get_property("pem"):
                certificate = kind_of_key(element.get_property("pem"))
            elif name == "srtpenc" and self.states and self.states[-1][1] == "connected":
                cipher = element.get_property("rtp-cipher").value_nick
                profile = SRTP_PROFILES.get(cipher, cipher)


def kind_of_key(pem):
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    der = ssl.PEM_cert_to_DER_cert(begin + pem.split(begin)[1].split(end)[0] + end)
    return "RSA" if RSA_KEY in der else "EC" if EC_KEY in der else "unknown"


def arguments():
    parser = argparse.ArgumentParser(description="WHIP publisher and WHEP viewer of GStreamer's webrtcbin")
    parser.add_argument("role", choices=["publish", "watch"])
    parser.add_argument("url")
    parser.add_argument("--codec", default=None)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--token", default=None)
    parser.add_argument("--out-of-band", action="store_true", help="H.264 Main, its parameter sets in the offer only")
    parser.add_argument("--verbose", action="store_true", help="descriptions to standard error")
    options = parser.parse_args()
    options.codec = options.codec or ("VP8" if options.role == "publish" else "VP8,H264,VP9")
    return options


if __name__ == "__main__":
    Gst.init(None)
    if sys.argv[1:] == ["--check"]:
        # Whether everything is installed that this program is made of; for the script that installs it.
        needed = "webrtcbin nicesrc dtlsenc srtpenc vp8enc vp8dec vp9enc vp9dec x264enc avdec_h264 opusenc opusdec rtph264pay".split()
        sys.exit(not all(map(Gst.ElementFactory.find, needed)))
    sys.exit(Client(arguments()).run())
