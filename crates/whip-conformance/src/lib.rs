//! A black-box conformance suite for WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep) servers. It knows only the URLs
//! of the server, and observes it over HTTP, ICE, DTLS and RTP. It is no load test, and does not judge the media.

mod checks;
mod client;
mod context;
mod media;
mod offers;
mod peer;
mod publisher;
mod report;
mod requirement;
mod sdp;

pub use client::Options;
pub use report::{Counts, Line, Report, Verdict};
pub use requirement::{Face, Level};

/// One requirement of the suite, without its check.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The id that `--only` matches, such as `whip.patch.stale`.
    pub id: String,
    /// The level of the requirement.
    pub level: Level,
    /// The document and the section that require it.
    pub section: String,
    /// What is required.
    pub title: &'static str,
}

/// Every requirement, in the order in which they are checked.
pub fn requirements() -> Vec<Listed> {
    checks::all()
        .into_iter()
        .map(|(face, r)| Listed {
            id: r.full_id(face),
            level: r.level,
            section: r.section(face),
            title: r.title,
        })
        .collect()
}

/// Checks every requirement whose id contains the pattern of the options; `progress` is called with each line.
pub fn run(options: &Options, mut progress: impl FnMut(&Line)) -> Report {
    let mut context = context::Context::new(options);
    let mut lines = Vec::new();
    for (face, requirement) in checks::all() {
        let id = requirement.full_id(face);
        let wanted = options.only.as_deref().is_none_or(|pattern| id.contains(pattern));
        if !wanted || (face == Face::Whep && options.whep.is_none()) {
            continue;
        }
        context.turn_to(face);
        let outcome = (requirement.check)(&mut context, face);
        let line = Line::new(id, requirement, face, outcome, options.strict);
        progress(&line);
        lines.push(line);
    }
    Report {
        whip: options.whip.to_string(),
        whep: options.whep.as_ref().map(ToString::to_string),
        lines,
    }
}
