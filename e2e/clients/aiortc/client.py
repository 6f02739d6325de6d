"""A WHIP publisher and WHEP viewer made of aiortc, the WebRTC stack in Python.

    client.py publish URL [--codec VP8|H264] [--seconds N] [--token T]
    client.py watch   URL [--codec VP8|H264] [--seconds N] [--token T]

Prints a line of JSON each second; the last one is the result (see clients/README.md for its members).
"""

import argparse
import asyncio
import fractions
import importlib.metadata
import json
import math
import signal
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import av
from aiortc import RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError, VideoStreamTrack

WIDTH, HEIGHT = 640, 360


class Picture(VideoStreamTrack):
    """A white bar that walks over a dark ground, thirty times a second."""

    def __init__(self):
        super().__init__()
        self.drawn = 0

    async def recv(self):
        pts, time_base = await self.next_timestamp()
        frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
        left = self.drawn * 4 % (WIDTH - 80)
        stride = frame.planes[0].line_size
        row = b"\x30" * left + b"\xe0" * 80 + b"\x30" * (stride - left - 80)
        frame.planes[0].update(row * HEIGHT)
        for plane in frame.planes[1:]:
            plane.update(b"\x80" * (plane.line_size * plane.height))
        frame.pts, frame.time_base = pts, time_base
        self.drawn += 1
        return frame


class Tone(AudioStreamTrack):
    """440 Hz, in frames of 20 ms."""

    def __init__(self):
        super().__init__()
        self.sent = 0
        self.began = time.monotonic()

    async def recv(self):
        await asyncio.sleep(max(0, self.began + self.sent * 0.02 - time.monotonic()))
        frame = av.AudioFrame(format="s16", layout="mono", samples=960)
        samples = (round(8000 * math.sin(2 * math.pi * 440 * (self.sent * 960 + at) / 48000)) for at in range(960))
        frame.planes[0].update(b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples))
        frame.sample_rate, frame.pts, frame.time_base = 48000, self.sent * 960, fractions.Fraction(1, 48000)
        self.sent += 1
        return frame


class Client:
    def __init__(self, options):
        self.options = options
        self.began = time.monotonic()
        self.pc = RTCPeerConnection()
        self.states = []
        self.error = None
        self.resource = None
        self.frames = self.key_frames = self.sound = 0
        self.first_frame_ms = self.size = self.first_picture = None
        self.moved = 0.0
        self.pc.on("connectionstatechange", self.note_state)
        self.pc.on("track", lambda track: asyncio.ensure_future(self.take(track)))

    async def run(self):
        done = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, done.set)
        try:
            await self.connect()
            end = self.began + self.options.seconds
            while not done.is_set() and time.monotonic() < end:
                await self.report()
                try:
                    await asyncio.wait_for(done.wait(), 1)
                except asyncio.TimeoutError:
                    pass
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the result
            self.error = f"{type(error).__name__}: {error}"
        await self.report()
        if self.resource:
            await asyncio.to_thread(self.request, "DELETE", self.resource)
        await self.pc.close()
        return 0 if self.error is None else 1

    async def connect(self):
        publishing = self.options.role == "publish"
        for kind, track in (("video", Picture), ("audio", Tone)):
            if publishing:
                transceiver = self.pc.addTransceiver(track(), direction="sendonly")
            else:
                transceiver = self.pc.addTransceiver(kind, direction="recvonly")
            if kind == "video" and self.options.codec:
                mime = f"video/{self.options.codec}"
                codecs = RTCRtpSender.getCapabilities("video").codecs
                transceiver.setCodecPreferences([one for one in codecs if one.mimeType in (mime, "video/rtx")])
        await self.pc.setLocalDescription(await self.pc.createOffer())
        offer = self.pc.localDescription.sdp
        if self.options.verbose:
            print(offer, file=sys.stderr)
        status, headers, body = await asyncio.to_thread(self.request, "POST", self.options.url, offer, "application/sdp")
        if status != 201:
            raise RuntimeError(f"POST {self.options.url}: {status} {body}")
        self.resource = urllib.parse.urljoin(self.options.url, headers["Location"])
        if self.options.verbose:
            print(body, file=sys.stderr)
        await self.pc.setRemoteDescription(RTCSessionDescription(body, "answer"))

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

    async def take(self, track):
        """Decoded pictures and sound, for as long as they come."""
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            if track.kind == "audio":
                self.sound += 1
                continue
            self.frames += 1
            self.key_frames += frame.key_frame
            self.size = f"{frame.width}x{frame.height}"
            if self.frames == 1:
                self.first_frame_ms = round((time.monotonic() - self.began) * 1000)
            if self.frames % 5 == 1:
                picture = bytes(frame.reformat(32, 18, "rgb24").planes[0])
                self.first_picture = self.first_picture or picture
                self.moved = max(self.moved, sum(abs(a - b) for a, b in zip(picture, self.first_picture)) / len(picture))

    def note_state(self):
        self.states.append([round((time.monotonic() - self.began) * 1000), self.pc.connectionState])

    async def report(self):
        packets = {"video": 0, "audio": 0}
        publishing = self.options.role == "publish"
        for entry in (await self.pc.getStats()).values():
            if entry.type == ("outbound-rtp" if publishing else "inbound-rtp"):
                packets[entry.kind] += entry.packetsSent if publishing else entry.packetsReceived
        line = {
            "client": f"aiortc {importlib.metadata.version('aiortc')}",
            "role": self.options.role,
            "seconds": round(time.monotonic() - self.began, 1),
            "state": self.pc.connectionState,
            "states": self.states,
            "certificate": "EC",
            "srtp": self.profile(),
            "error": self.error,
            "packets": packets,
        }
        if not publishing:
            line |= {"frames": self.frames, "keyFrames": self.key_frames, "size": self.size, "moved": round(self.moved, 1)}
            line |= {"firstFrameMs": self.first_frame_ms, "sound": self.sound}
        print(json.dumps(line), flush=True)

    def profile(self):
        """aiortc does not tell the SRTP profile; its TLS library does. Its certificates are always of P-256."""
        if self.pc.connectionState != "connected":
            return None
        transport = self.pc.getTransceivers()[0].sender.transport
        return transport._ssl.get_selected_srtp_profile().decode()


def arguments():
    parser = argparse.ArgumentParser(description="WHIP publisher and WHEP viewer of aiortc")
    parser.add_argument("role", choices=["publish", "watch"])
    parser.add_argument("url")
    parser.add_argument("--codec", default=None)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--token", default=None)
    parser.add_argument("--verbose", action="store_true", help="descriptions to standard error")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(Client(arguments()).run()))
