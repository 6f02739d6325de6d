//! `application/trickle-ice-sdpfrag` (RFC 8840 section 9): the body of trickle and ICE restart requests.

use std::fmt::Write;
use std::net::SocketAddr;

use model::Mid;

use crate::transport::TransportLines;
use crate::{SdpError, attributes, candidate, form, limits};

/// A fragment of a peer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fragment {
    /// `a=ice-ufrag`, at the session level or in the first section that has it.
    pub ufrag: Option<String>,
    /// `a=ice-pwd`, found in the same way.
    pub pwd: Option<String>,
    /// `a=ice-options`
    pub ice_options: Vec<String>,
    /// The sections of the fragment.
    pub sections: Vec<FragmentSection>,
    /// `a=end-of-candidates` at the session level: for all sections.
    pub end_of_candidates: bool,
}

/// One pseudo media section of a fragment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FragmentSection {
    /// The section of the session; `None` also if the mid is longer than [`Mid`] can be.
    pub mid: Option<Mid>,
    /// The candidates that can be used.
    pub candidates: Vec<SocketAddr>,
    /// The number of candidates that cannot be used.
    pub useless: usize,
    /// `a=end-of-candidates`: no further candidates will follow.
    pub end_of_candidates: bool,
}

impl Fragment {
    /// Parses a fragment. Unknown attributes, and lines that are no attributes, are ignored.
    ///
    /// # Errors
    /// [`Fault::Malformed`](crate::Fault::Malformed) with the line.
    pub fn parse(text: &str) -> Result<Fragment, SdpError> {
        let text = form::tidied(text);
        limits::check(&text)?;
        let mut fragment = Fragment::default();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim_end_matches('\r');
            fragment
                .read(line)
                .map_err(|wrong| SdpError::malformed(format!("line {}", at + 1), wrong))?;
        }
        let credentials = fragment.ufrag.is_some() == fragment.pwd.is_some();
        if !credentials {
            let wrong = "one of a=ice-ufrag and a=ice-pwd is missing; both or none are allowed";
            return Err(SdpError::malformed("fragment", wrong));
        }
        if fragment.ufrag.is_none() && fragment.sections.is_empty() && !fragment.end_of_candidates {
            let wrong = "neither credentials nor a media section; at least one is needed (RFC 8840 section 9)";
            return Err(SdpError::malformed("fragment", wrong));
        }
        Ok(fragment)
    }

    fn read(&mut self, line: &str) -> Result<(), String> {
        if line.is_empty() {
            return Ok(());
        }
        let Some((kind, value)) = line.split_once('=').filter(|(kind, _)| kind.len() == 1) else {
            return Err("not a line of a description; a letter, '=' and a value are allowed".into());
        };
        if kind == "m" {
            self.sections.push(FragmentSection::default());
            return Ok(());
        }
        if kind != "a" {
            return Ok(());
        }
        let (name, value) = value.split_once(':').unwrap_or((value, ""));
        let value = value.trim();
        match (name, self.sections.last_mut()) {
            ("mid", Some(section)) => section.mid = attributes::mid(value)?,
            ("candidate", Some(section)) => match candidate::parse(value) {
                Some(address) if section.candidates.len() < candidate::MAX_CANDIDATES => {
                    section.candidates.push(address);
                }
                _ => section.useless += 1,
            },
            ("end-of-candidates", Some(section)) => section.end_of_candidates = true,
            ("end-of-candidates", None) => self.end_of_candidates = true,
            ("ice-ufrag" | "ice-pwd" | "ice-options", _) => {
                let mut lines = TransportLines::default();
                lines.read(name, value)?;
                self.ufrag = self.ufrag.take().or(lines.ufrag);
                self.pwd = self.pwd.take().or(lines.pwd);
                if self.ice_options.is_empty() {
                    self.ice_options = lines.ice_options;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Writes our fragment after an ICE restart: new credentials, all candidates in the tagged section, ice-lite and
    /// the options repeated (RFC 9725 section 4.3.3). `media` is the kind, protocol and `a=mid` of that section.
    pub fn restart_answer(
        ufrag: &str,
        pwd: &str,
        ice_options: &[String],
        bundle: &[String],
        media: (&str, &str, Option<&str>),
        candidates: &[SocketAddr],
    ) -> String {
        let mut out = String::with_capacity(512);
        let (kind, protocol, mid) = media;
        // Writing to a String does not fail.
        let mut write = || -> std::fmt::Result {
            out.push_str("a=ice-lite\r\n");
            if !ice_options.is_empty() {
                write!(out, "a=ice-options:{}\r\n", ice_options.join(" "))?;
            }
            if !bundle.is_empty() {
                write!(out, "a=group:BUNDLE {}\r\n", bundle.join(" "))?;
            }
            write!(out, "a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\n")?;
            // RFC 8840 section 9: the m-line only names the section; its port and format have no meaning.
            write!(out, "m={kind} 9 {protocol} 0\r\n")?;
            if let Some(mid) = mid {
                write!(out, "a=mid:{mid}\r\n")?;
            }
            candidate::write_hosts(&mut out, candidates)
        };
        let _ = write();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trickled_candidates_are_read_and_useless_ones_counted() {
        let text = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n\
            a=mid:0\r\na=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host\r\n\
            a=candidate:2 1 udp 2122194687 abc.local 61765 typ host\r\na=end-of-candidates\r\n";
        let fragment = Fragment::parse(text).unwrap();
        assert_eq!(fragment.ufrag.as_deref(), Some("EsAw"));
        assert_eq!(fragment.sections.len(), 1);
        let section = &fragment.sections[0];
        assert_eq!(section.mid.unwrap().as_str(), "0");
        assert_eq!((section.candidates.len(), section.useless), (1, 1));
        assert!(section.end_of_candidates);
    }

    #[test]
    fn credentials_may_stand_in_the_section() {
        let text =
            "m=audio 9 RTP/AVP 0\na=mid:a\na=ice-ufrag:EsAw\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\n";
        assert_eq!(Fragment::parse(text).unwrap().pwd.as_deref(), Some("P2uYro0UCOQ4zxjKXaWCBui1"));
    }

    #[test]
    fn errors_name_the_line() {
        for (bad, place) in [
            ("a=ice-ufrag:EsAw\n", "fragment"),
            ("", "fragment"),
            ("a=ice-lite\n", "fragment"),
            ("{\"candidate\":\"\"}", "line 1"),
            ("m=audio 9 RTP/AVP 0\na=mid:\n", "line 2"),
            ("a=ice-ufrag:abc\n", "line 1"),
        ] {
            assert_eq!(Fragment::parse(bad).unwrap_err().place(), place, "{bad}");
        }
    }

    #[test]
    fn a_restart_answer_parses_again() {
        let text = Fragment::restart_answer(
            "newu",
            "abcdefghijklmnopqrstuvwx",
            &["trickle".into(), "ice2".into()],
            &["0".into(), "1".into()],
            ("audio", "UDP/TLS/RTP/SAVPF", Some("0")),
            &["198.51.100.1:7000".parse().unwrap()],
        );
        assert!(
            text.starts_with("a=ice-lite\r\na=ice-options:trickle ice2\r\na=group:BUNDLE 0 1\r\n")
        );
        let parsed = Fragment::parse(&text).unwrap();
        assert_eq!(parsed.ufrag.as_deref(), Some("newu"));
        assert_eq!(parsed.sections[0].candidates, ["198.51.100.1:7000".parse().unwrap()]);
        assert!(parsed.sections[0].end_of_candidates);
    }
}
