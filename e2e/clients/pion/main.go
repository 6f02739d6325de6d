// A WHIP publisher and WHEP viewer made of Pion, the WebRTC stack in Go.
//
//	pion-client publish|watch [-codec VP8|H264] [-seconds N] [-token T] [-media DIRECTORY] [-verbose] URL
//
// Prints a line of JSON each second; the last one is the result (see clients/README.md for its members). Nothing is decoded.
// It is built with Go 1.19 and Pion 3.1 of Debian 12, which sends no consent checks while media flows.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pion/webrtc/v3"
)

type options struct {
	role, url, codec, token, media string
	seconds                        int
	verbose                        bool
}

// client is one session: what it was asked for, and what it has seen.
type client struct {
	options
	peer     *webrtc.PeerConnection
	began    time.Time
	resource string

	lock   sync.Mutex
	states [][2]interface{}
	video  counts
	audio  counts
	plis   int
}

func main() {
	c := &client{options: arguments(), began: time.Now()}
	err := c.run()
	c.print(err)
	if c.resource != "" {
		if _, _, problem := c.request(http.MethodDelete, c.resource, ""); problem != nil {
			fmt.Fprintln(os.Stderr, problem)
		}
	}
	if err != nil {
		os.Exit(1)
	}
}

func arguments() options {
	o := options{}
	usage := "publish|watch URL [-codec VP8|H264] [-seconds N] [-token T] [-media DIRECTORY] [-verbose]"
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	o.role, o.url = os.Args[1], os.Args[2]
	flags := flag.NewFlagSet(usage, flag.ExitOnError)
	flags.StringVar(&o.codec, "codec", "", "VP8 or H264; a viewer takes both by default")
	flags.StringVar(&o.token, "token", "", "bearer token")
	flags.StringVar(&o.media, "media", "../../../media", "directory of the test card's files")
	flags.IntVar(&o.seconds, "seconds", 10, "how long to stay")
	flags.BoolVar(&o.verbose, "verbose", false, "descriptions to standard error")
	_ = flags.Parse(os.Args[3:])
	if o.codec == "" && o.role == "publish" {
		o.codec = "VP8"
	}
	return o
}

func (c *client) run() error {
	peer, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return err
	}
	c.peer = peer
	peer.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		c.lock.Lock()
		defer c.lock.Unlock()
		c.states = append(c.states, [2]interface{}{time.Since(c.began).Milliseconds(), state.String()})
	})
	play := func() {}
	if c.role == "publish" {
		play, err = c.publish()
	} else {
		err = c.watch()
	}
	if err != nil {
		return err
	}
	if err := c.exchange(); err != nil {
		return err
	}
	play()
	return c.stay()
}

// stay prints what is seen each second, until the time is over or a signal comes.
func (c *client) stay() error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	second := time.NewTicker(time.Second)
	end := time.After(time.Duration(c.seconds) * time.Second)
	for {
		select {
		case <-second.C:
			c.print(nil)
		case <-signals:
			return nil
		case <-end:
			return nil
		}
	}
}

// exchange sends the offer with all its candidates, and takes the answer.
func (c *client) exchange() error {
	offer, err := c.peer.CreateOffer(nil)
	if err != nil {
		return err
	}
	gathered := webrtc.GatheringCompletePromise(c.peer)
	if err := c.peer.SetLocalDescription(offer); err != nil {
		return err
	}
	<-gathered
	text := c.peer.LocalDescription().SDP
	response, body, err := c.request(http.MethodPost, c.url, text)
	if err != nil {
		return err
	}
	if c.verbose {
		fmt.Fprintln(os.Stderr, text, body)
	}
	if response.StatusCode != http.StatusCreated {
		return fmt.Errorf("POST %s: %s %s", c.url, response.Status, body)
	}
	location, err := response.Location()
	if err != nil {
		return err
	}
	c.resource = location.String()
	return c.peer.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: body})
}

func (c *client) request(method, address, body string) (*http.Response, string, error) {
	if _, err := url.Parse(address); err != nil {
		return nil, "", err
	}
	request, err := http.NewRequest(method, address, strings.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/sdp")
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response, string(text), err
}

func (c *client) print(err error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	line := map[string]interface{}{
		"client": version(), "role": c.role, "seconds": time.Since(c.began).Seconds(), "error": nil, "state": "new", "states": c.states,
		// Pion makes certificates of P-256 by default, and does not tell the SRTP profile that was agreed.
		"certificate": "EC", "srtp": nil,
		"packets": map[string]int{"video": c.video.packets, "audio": c.audio.packets},
		"frames":  c.video.frames, "keyFrames": c.video.keyFrames, "plis": c.plis,
	}
	if err != nil {
		line["error"] = err.Error()
	}
	if len(c.states) > 0 {
		line["state"] = c.states[len(c.states)-1][1]
	}
	if c.role == "watch" {
		line["codec"], line["gaps"], line["firstFrameMs"], line["sound"] = c.video.codec, c.video.gaps, c.video.firstFrameMs, c.audio.packets
	}
	text, _ := json.Marshal(line)
	fmt.Println(string(text))
}

// version is what the build knows of Pion; without modules that is nothing, and Debian's package says it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == "github.com/pion/webrtc/v3" {
				return "Pion " + module.Version
			}
		}
	}
	return "Pion 3.1 (Debian 12)"
}
