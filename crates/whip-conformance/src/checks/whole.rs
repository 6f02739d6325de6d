//! Requirements that only the whole run can show: these checks look at all earlier exchanges.

use url::Url;

use crate::{
    context::Context,
    requirement::{Face, Level, Outcome, Requirement, Stop},
};

pub(crate) const REQUIREMENTS: &[Requirement] = &[
    Requirement {
        id: "session.unguessable",
        level: Level::Should,
        whip: "5",
        whep: "5",
        title: "URLs of sessions cannot be guessed: they hold 64 random bits or more",
        check: unguessable,
    },
    Requirement {
        id: "redirects",
        level: Level::Must,
        whip: "4.5",
        whep: "4.7",
        title: "redirects are 307 (or 308), never 301 or 302",
        check: redirects,
    },
];

const SAMPLE: usize = 5;
const ENOUGH_BITS: f64 = 64.0;

fn unguessable(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let count = |context: &Context| context.session_urls.iter().filter(|(f, _)| *f == face).count();
    while count(context) < SAMPLE {
        context.open(face)?;
    }
    let of_face = context.session_urls.iter().filter(|(f, _)| *f == face);
    let urls: Vec<&Url> = of_face.map(|(_, url)| url).collect();
    let texts: Vec<&str> = urls.iter().map(|url| url.as_str()).collect();
    let bits = varying_bits(&texts);
    if bits >= ENOUGH_BITS {
        return Ok(Outcome::Note(format!(
            "about {bits:.0} bits differ between {} URLs",
            texts.len()
        )));
    }
    Err(Stop::fail(
        format!("{} offers", texts.len()),
        format!("{}\n(about {bits:.0} bits differ)", texts.join("\n")),
        "URLs that differ in at least 64 bits",
    ))
}

/// An upper bound of the random bits in these texts: the part that differs between them, by the alphabet that it seems
/// to use.
fn varying_bits(texts: &[&str]) -> f64 {
    let Some((first, others)) = texts.split_first() else { return 0.0 };
    let common = |one: &mut dyn Iterator<Item = char>, two: &mut dyn Iterator<Item = char>| {
        one.zip(two).take_while(|(a, b)| a == b).count()
    };
    let length = texts.iter().map(|t| t.chars().count()).min().unwrap_or(0);
    let all = others.iter();
    let prefix =
        all.clone().map(|o| common(&mut first.chars(), &mut o.chars())).min().unwrap_or(length);
    let suffix =
        all.map(|o| common(&mut first.chars().rev(), &mut o.chars().rev())).min().unwrap_or(length);
    let varying = length.saturating_sub(prefix + suffix);
    let parts = texts.iter().flat_map(|t| t.chars().skip(prefix).take(varying));
    let symbols: Vec<char> = parts.filter(|c| c.is_ascii_alphanumeric()).collect();
    let any = |test: fn(&char) -> bool| symbols.iter().any(test);
    let alphabet: f64 = match () {
        () if any(|c| !c.is_ascii_hexdigit()) && any(|c| c.is_ascii_uppercase()) => 62.0,
        () if any(|c| !c.is_ascii_hexdigit()) => 36.0,
        () if any(|c| !c.is_ascii_digit()) => 16.0,
        () => 10.0,
    };
    symbols.len() as f64 / texts.len() as f64 * alphabet.log2()
}

fn redirects(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let seen = context.client.redirects();
    let endpoint = context.endpoint(face);
    if seen.is_empty() {
        return Err(Stop::skip("the server did not redirect"));
    }
    match seen.iter().find(|(_, status)| !matches!(status, 307 | 308 | 304)) {
        Some((asked, status)) => Err(Stop::fail(asked, status.to_string(), "307")),
        None => Ok(Outcome::Note(format!("{} redirects from {endpoint}", seen.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_urls_have_bits_and_counters_have_none() {
        let uuids = [
            "http://h/s/0b9c1c1e-7d3a-4f0e-9a44-7d1e0a6f3b21",
            "http://h/s/5f1e2d3c-1b2a-4c3d-8e5f-a0b1c2d3e4f5",
            "http://h/s/c3d2e1f0-99aa-4bbc-b1dd-0123456789ab",
        ];
        assert!(varying_bits(&uuids) > 110.0);
        assert!(varying_bits(&["http://h/s/1001", "http://h/s/1002", "http://h/s/1003"]) < 8.0);
        assert!(varying_bits(&["http://h/s", "http://h/s"]) < 1.0);
        assert!(varying_bits(&[]) < 1.0);
    }
}
