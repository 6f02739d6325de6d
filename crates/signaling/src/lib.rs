//! HTTP signaling: WHIP, WHEP, the room API and the web page.
