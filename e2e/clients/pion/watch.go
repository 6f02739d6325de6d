package main

import (
	"strings"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v3"
)

// counts is what was sent or seen of one section.
type counts struct {
	packets, frames, keyFrames, gaps int
	codec                            string
	firstFrameMs                     int64

	sequence  uint16
	timestamp uint32
	whole     bool
	key       bool
}

// watch asks for a picture and for sound, and counts what comes.
func (c *client) watch() error {
	recvonly := webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}
	video, err := c.peer.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, recvonly)
	if err != nil {
		return err
	}
	if c.codec != "" {
		if err := video.SetCodecPreferences(parameters(c.codec)); err != nil {
			return err
		}
	}
	if _, err := c.peer.AddTransceiverFromKind(webrtc.RTPCodecTypeAudio, recvonly); err != nil {
		return err
	}
	c.peer.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		go c.ask(track)
		c.count(track)
	})
	return nil
}

func parameters(codec string) []webrtc.RTPCodecParameters {
	capability := webrtc.RTPCodecCapability{MimeType: "video/" + codec, ClockRate: 90000}
	payloadType := webrtc.PayloadType(96)
	if codec == "H264" {
		capability.SDPFmtpLine = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"
		payloadType = 125
	}
	return []webrtc.RTPCodecParameters{{RTPCodecCapability: capability, PayloadType: payloadType}}
}

// ask asks for a key frame once: the stack does not by itself.
func (c *client) ask(track *webrtc.TrackRemote) {
	if track.Kind() == webrtc.RTPCodecTypeVideo {
		_ = c.peer.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: uint32(track.SSRC())}})
	}
}

func (c *client) count(track *webrtc.TrackRemote) {
	counts := &c.video
	if track.Kind() == webrtc.RTPCodecTypeAudio {
		counts = &c.audio
	}
	for {
		packet, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		c.lock.Lock()
		counts.codec = strings.TrimPrefix(strings.TrimPrefix(track.Codec().MimeType, "video/"), "audio/")
		counts.take(packet, time.Since(c.began).Milliseconds())
		c.lock.Unlock()
	}
}

// take counts a packet. A frame counts when all its packets are there, from the one that begins it to the marker.
func (c *counts) take(packet *rtp.Packet, nowMs int64) {
	c.packets++
	if c.packets > 1 && packet.SequenceNumber != c.sequence {
		c.gaps++
		c.whole = false
	}
	c.sequence = packet.SequenceNumber + 1
	begins, key := look(c.codec, packet.Payload)
	if packet.Timestamp != c.timestamp || c.packets == 1 {
		c.timestamp, c.whole, c.key = packet.Timestamp, begins, false
	}
	c.key = c.key || key
	if !packet.Marker || !c.whole || c.codec == "opus" {
		return
	}
	c.frames++
	c.whole = false
	if c.key {
		c.keyFrames++
		if c.firstFrameMs == 0 {
			c.firstFrameMs = nowMs
		}
	}
}

// look says whether a payload begins a frame, and whether that is a key frame.
func look(codec string, payload []byte) (begins, key bool) {
	switch codec {
	case "VP8":
		header := codecs.VP8Packet{}
		rest, err := header.Unmarshal(payload)
		if err != nil || len(rest) == 0 {
			return false, false
		}
		// S and partition 0 begin a frame, P = 0 is a key frame (RFC 7741 sections 4.2 and 4.3).
		begins = header.S == 1 && header.PID == 0
		return begins, begins && rest[0]&1 == 0
	case "H264":
		for _, kind := range unitTypes(payload) {
			begins = true
			key = key || kind == 5
		}
	}
	return begins, key
}

// unitTypes are the types of the NAL units that begin in a payload (RFC 6184 sections 5.6 to 5.8).
func unitTypes(payload []byte) []byte {
	if len(payload) < 2 {
		return nil
	}
	switch kind := payload[0] & 0x1f; kind {
	case 24:
		kinds := []byte{}
		for at := 1; at+2 < len(payload); {
			kinds = append(kinds, payload[at+2]&0x1f)
			at += 2 + int(payload[at])<<8 + int(payload[at+1])
		}
		return kinds
	case 28:
		if payload[1]&0x80 == 0 {
			return nil
		}
		return []byte{payload[1] & 0x1f}
	default:
		return []byte{kind}
	}
}
