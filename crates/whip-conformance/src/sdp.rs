//! A view of session descriptions and ICE fragments, line by line. It is small on purpose, and shares no parser with
//! the server that it checks.

/// A session description (RFC 8866).
#[derive(Debug, Clone, Default)]
pub(crate) struct Sdp {
    /// Session-level attributes: name and value; the value is empty for flags.
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) media: Vec<Media>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Media {
    pub(crate) kind: String,
    pub(crate) port: String,
    pub(crate) formats: Vec<String>,
    pub(crate) attributes: Vec<(String, String)>,
}

impl Sdp {
    /// Parses a whole description.
    ///
    /// # Errors
    /// The invalid line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let sdp = Self::parse_fragment(text)?;
        let mut order = text.lines().filter_map(|line| line.chars().next());
        // RFC 8866 section 5: the order of the first lines is fixed.
        for wanted in ['v', 'o', 's'] {
            if order.next() != Some(wanted) {
                return Err(format!("there is no {wanted}= line at its place"));
            }
        }
        if sdp.media.is_empty() {
            return Err("there is no m= line".to_owned());
        }
        Ok(sdp)
    }

    /// Parses a fragment (RFC 8840 section 9), which has no required first line.
    ///
    /// # Errors
    /// The invalid line.
    pub(crate) fn parse_fragment(text: &str) -> Result<Self, String> {
        let mut sdp = Self::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let Some((kind, rest)) = line.split_once('=').filter(|(kind, _)| kind.len() == 1)
            else {
                return Err(format!("no SDP line: {line:?}"));
            };
            match kind {
                "m" => sdp.media.push(parse_media(rest)?),
                "a" => {
                    let (name, value) = rest.split_once(':').unwrap_or((rest, ""));
                    let attribute = (name.to_owned(), value.to_owned());
                    match sdp.media.last_mut() {
                        Some(media) => media.attributes.push(attribute),
                        None => sdp.attributes.push(attribute),
                    }
                }
                _ => {}
            }
        }
        Ok(sdp)
    }

    /// A session-level attribute.
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        find(&self.attributes, name)
    }

    /// An attribute of a section; if the section lacks it, of the session.
    pub(crate) fn of<'a>(&'a self, media: &'a Media, name: &str) -> Option<&'a str> {
        media.attribute(name).or_else(|| self.attribute(name))
    }

    /// The first value of an attribute, at any level.
    pub(crate) fn anywhere(&self, name: &str) -> Option<&str> {
        let in_media = || self.media.iter().find_map(|media| media.attribute(name));
        self.attribute(name).or_else(in_media)
    }

    /// The mids of the BUNDLE group.
    pub(crate) fn bundle(&self) -> Vec<&str> {
        let groups = self.attributes.iter().filter(|(name, _)| name == "group");
        let mut bundles = groups.filter_map(|(_, value)| value.strip_prefix("BUNDLE"));
        bundles.next().map(|mids| mids.split_whitespace().collect()).unwrap_or_default()
    }

    /// Candidates of all sections.
    pub(crate) fn candidates(&self) -> Vec<&str> {
        let all = self.media.iter().flat_map(|media| media.all("candidate"));
        all.chain(self.attributes.iter().filter(|(n, _)| n == "candidate").map(|(_, v)| v.as_str()))
            .collect()
    }

    /// The sections that are not rejected.
    pub(crate) fn accepted(&self) -> impl Iterator<Item = &Media> {
        self.media.iter().filter(|media| !media.is_rejected())
    }
}

impl Media {
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        find(&self.attributes, name)
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.attributes.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn mid(&self) -> &str {
        self.attribute("mid").unwrap_or_default()
    }

    /// Port 0 rejects a section (RFC 3264 section 6), unless the section is bundle-only (RFC 9143 section 6; the
    /// example of RFC 9725 section 4.2 has that in its answer).
    pub(crate) fn is_rejected(&self) -> bool {
        self.port == "0" && self.attribute("bundle-only").is_none()
    }

    /// The direction; `sendrecv` if there is no such attribute (RFC 8866 section 6.7).
    pub(crate) fn direction(&self) -> &str {
        let names = ["sendonly", "recvonly", "sendrecv", "inactive"];
        names.into_iter().find(|name| self.attribute(name).is_some()).unwrap_or("sendrecv")
    }

    /// The codec of a payload type, as in `rtpmap`, in lower case.
    pub(crate) fn codec(&self, format: &str) -> Option<String> {
        self.all("rtpmap").find_map(|value| {
            let (pt, codec) = value.split_once(' ')?;
            (pt == format).then(|| codec.trim().to_ascii_lowercase())
        })
    }
}

fn parse_media(rest: &str) -> Result<Media, String> {
    let mut words = rest.split_whitespace();
    let (Some(kind), Some(port), Some(_protocol)) = (words.next(), words.next(), words.next())
    else {
        return Err(format!("an m= line without kind, port and protocol: {rest:?}"));
    };
    Ok(Media {
        kind: kind.to_owned(),
        port: port.to_owned(),
        formats: words.map(str::to_owned).collect(),
        attributes: Vec::new(),
    })
}

fn find<'a>(attributes: &'a [(String, String)], name: &str) -> Option<&'a str> {
    attributes.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na=ice-lite\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=recvonly\r\na=rtpmap:111 opus/48000/2\r\n\
        a=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\nm=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\n";

    #[test]
    fn sections_and_session_are_apart() {
        let sdp = Sdp::parse(TEXT).unwrap();
        assert_eq!(sdp.bundle(), ["0", "1"]);
        assert_eq!(sdp.attribute("ice-lite"), Some(""));
        assert_eq!(sdp.media[0].direction(), "recvonly");
        assert_eq!(sdp.media[0].codec("111").as_deref(), Some("opus/48000/2"));
        assert_eq!(sdp.candidates().len(), 1);
        assert!(sdp.media[1].is_rejected());
        assert_eq!(sdp.accepted().count(), 1);
    }

    #[test]
    fn texts_that_are_no_sdp_are_refused() {
        assert!(Sdp::parse("hello").is_err());
        assert!(Sdp::parse("v=0\r\ns=-\r\n").is_err());
        assert!(Sdp::parse("v=0\no=-\ns=-\nm=audio\n").is_err());
        assert!(Sdp::parse("v=0\no=-\ns=-\n").is_err());
        assert!(Sdp::parse_fragment("a=ice-ufrag:x\nm=audio 9 RTP/AVP 0\na=mid:0\n").is_ok());
    }
}
