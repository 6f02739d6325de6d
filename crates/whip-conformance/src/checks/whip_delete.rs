//! DELETE, and what remains of a session after it.

use url::Url;

use crate::{
    client::Request,
    context::{Context, FRAGMENT},
    offers::{CANDIDATE, fragment, hex, ice_text},
    requirement::{Face, Level, Outcome, Requirement, Stop},
};

pub(crate) const REQUIREMENTS: &[Requirement] = &[
    Requirement {
        id: "delete.done",
        level: Level::Must,
        whip: "4.2",
        whep: "4.4",
        title: "DELETE of a session is answered 200 (or 204)",
        check: done,
    },
    Requirement {
        id: "delete.if-match",
        level: Level::Must,
        whip: "4.3.1",
        whep: "4.5.1",
        title: "DELETE ignores If-Match",
        check: if_match,
    },
    Requirement {
        id: "delete.gone",
        level: Level::Must,
        whip: "4.2",
        whep: "4.4",
        title: "after DELETE the session is not found",
        check: gone,
    },
    Requirement {
        id: "delete.patch-gone",
        level: Level::Must,
        whip: "4.2",
        whep: "4.4",
        title: "after DELETE a PATCH is refused with a 4xx",
        check: patch_gone,
    },
    Requirement {
        id: "delete.twice",
        level: Level::Should,
        whip: "RFC 9110 15.5.5",
        whep: "RFC 9110 15.5.5",
        title: "a second DELETE is answered 404",
        check: twice,
    },
    Requirement {
        id: "delete.unknown",
        level: Level::Should,
        whip: "RFC 9110 15.5.5",
        whep: "RFC 9110 15.5.5",
        title: "DELETE and GET of a session that never was are answered 404",
        check: unknown,
    },
    Requirement {
        id: "delete.again",
        level: Level::Must,
        whip: "4.2",
        whep: "4.4",
        title: "after DELETE the next offer is taken",
        check: again,
    },
];

fn done(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    context.open(face)?.delete()?.require_status(&[200, 204])
}

fn if_match(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let mut live = context.open(face)?;
    let request = Request::new("DELETE", &live.url).header("If-Match", format!("\"{}\"", hex(12)));
    live.delete_by(request)?.require_status(&[200, 204])
}

fn deleted(context: &mut Context, face: Face) -> Result<Url, Stop> {
    let mut live = context.open(face)?;
    if !live.delete()?.success() {
        return Err(Stop::skip("DELETE did not succeed"));
    }
    Ok(live.url.clone())
}

fn gone(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let url = deleted(context, face)?;
    context.client.send(Request::new("GET", &url))?.require_refusal(&[404, 410])
}

fn patch_gone(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let url = deleted(context, face)?;
    let body = fragment(&ice_text(8), &ice_text(24), "0", &[CANDIDATE]);
    let request = Request::new("PATCH", &url)
        .header("Content-Type", FRAGMENT)
        .header("If-Match", "*")
        .body(body);
    context.client.send(request)?.require_refusal(&[404, 410])
}

fn twice(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let url = deleted(context, face)?;
    context.client.send(Request::new("DELETE", &url))?.require_status(&[404, 410])
}

fn unknown(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let url = deleted(context, face)?;
    let url = foreign(&url);
    for method in ["GET", "DELETE"] {
        context.client.send(Request::new(method, &url))?.require_status(&[404, 410])?;
    }
    Ok(Outcome::Pass)
}

/// The URL of a session, with other hexadecimal digits and letters in its last segment.
fn foreign(url: &Url) -> Url {
    let rotate = |c: char| match c {
        '0'..='8' | 'a'..='e' | 'A'..='E' => char::from(c as u8 + 1),
        '9' => '0',
        'f' => 'a',
        'F' => 'A',
        c => c,
    };
    let mut url = url.clone();
    let path = url.path().to_owned();
    let (base, last) = path.rsplit_once('/').unwrap_or(("", &path));
    let last: String = last.chars().map(rotate).collect();
    url.set_path(&format!("{base}/{last}"));
    let query = url.query().map(|query| query.chars().map(rotate).collect::<String>());
    url.set_query(query.as_deref());
    url
}

fn again(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    deleted(context, face)?;
    let request = context.post(face, &crate::offers::Template::new(face).build());
    context.try_offer(face, request)?.require_status(&[201])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_urls_differ_in_the_last_segment_only() {
        let url = Url::parse("http://h:1/whip/sessions/0a9f-Zz").unwrap();
        assert_eq!(foreign(&url).as_str(), "http://h:1/whip/sessions/1b0a-Zz");
    }
}
