package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v3"
	"github.com/pion/webrtc/v3/pkg/media"
	"github.com/pion/webrtc/v3/pkg/media/h264reader"
	"github.com/pion/webrtc/v3/pkg/media/ivfreader"
)

// publish adds a section for pictures and one for sound; what it gives begins to play them, in a loop.
func (c *client) publish() (func(), error) {
	mime, read := webrtc.MimeTypeVP8, readIVF
	if c.codec == "H264" {
		mime, read = webrtc.MimeTypeH264, readH264
	}
	pictures, err := read(c.media)
	if err != nil {
		return nil, err
	}
	sounds, err := readOgg(c.media)
	if err != nil {
		return nil, err
	}
	video, err := c.section(mime, "video")
	if err != nil {
		return nil, err
	}
	audio, err := c.section(webrtc.MimeTypeOpus, "audio")
	if err != nil {
		return nil, err
	}
	return func() {
		go c.play(video, pictures, time.Second/30, &c.video)
		go c.play(audio, sounds, 20*time.Millisecond, &c.audio)
	}, nil
}

func (c *client) section(mime, kind string) (*webrtc.TrackLocalStaticSample, error) {
	track, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: mime}, kind, "client")
	if err != nil {
		return nil, err
	}
	transceiver, err := c.peer.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
	if err != nil {
		return nil, err
	}
	go c.listen(transceiver.Sender())
	return track, nil
}

// listen reads what comes back for a section: without a reader the stack answers no NACK.
func (c *client) listen(sender *webrtc.RTPSender) {
	for {
		packets, _, err := sender.ReadRTCP()
		if err != nil {
			return
		}
		for _, packet := range packets {
			if _, ok := packet.(*rtcp.PictureLossIndication); ok {
				c.lock.Lock()
				c.plis++
				c.lock.Unlock()
			}
		}
	}
}

// play sends a sample each `every`. It counts samples: the stack cuts them into packets and does not say how many.
func (c *client) play(track *webrtc.TrackLocalStaticSample, samples [][]byte, every time.Duration, counts *counts) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for at := 0; ; at++ {
		if c.peer.ConnectionState() == webrtc.PeerConnectionStateConnected {
			if err := track.WriteSample(media.Sample{Data: samples[at%len(samples)], Duration: every}); err != nil {
				return
			}
			c.lock.Lock()
			counts.packets++
			counts.frames++
			c.lock.Unlock()
		}
		<-ticker.C
	}
}

func readIVF(directory string) ([][]byte, error) {
	file, err := os.Open(filepath.Join(directory, "testcard.ivf"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	reader, _, err := ivfreader.NewWith(file)
	if err != nil {
		return nil, err
	}
	frames := [][]byte{}
	for {
		frame, _, err := reader.ParseNextFrame()
		if err == io.EOF {
			return frames, nil
		}
		if err != nil {
			return nil, err
		}
		frames = append(frames, frame)
	}
}

// readH264 gives access units: parameter sets stand before the picture that they belong to. Pictures have one slice each.
func readH264(directory string) ([][]byte, error) {
	file, err := os.Open(filepath.Join(directory, "testcard.h264"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	reader, err := h264reader.NewReader(file)
	if err != nil {
		return nil, err
	}
	frames, begun := [][]byte{}, []byte{}
	for {
		unit, err := reader.NextNAL()
		if err == io.EOF {
			return frames, nil
		}
		if err != nil {
			return nil, err
		}
		begun = append(append(begun, 0, 0, 0, 1), unit.Data...)
		if unit.UnitType == h264reader.NalUnitTypeCodedSliceIdr || unit.UnitType == h264reader.NalUnitTypeCodedSliceNonIdr {
			frames = append(frames, begun)
			begun = []byte{}
		}
	}
}

// readOgg gives the Opus packets of the test card, without the two that hold its head and its tags. Its pages hold several packets
// (RFC 3533 section 6), which the reader of this Pion does not part.
func readOgg(directory string) ([][]byte, error) {
	file, err := os.ReadFile(filepath.Join(directory, "testcard.ogg"))
	if err != nil {
		return nil, err
	}
	packets, begun := [][]byte{}, []byte{}
	for at := 0; at+27 <= len(file); {
		if string(file[at:at+4]) != "OggS" {
			return nil, fmt.Errorf("testcard.ogg: no page at byte %d", at)
		}
		lacing := file[at+27 : at+27+int(file[at+26])]
		at += 27 + len(lacing)
		for _, size := range lacing {
			begun = append(begun, file[at:at+int(size)]...)
			at += int(size)
			if size < 255 {
				packets, begun = append(packets, begun), []byte{}
			}
		}
	}
	return packets[2:], nil
}
