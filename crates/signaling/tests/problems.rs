//! Every error has a `type` of the table of kinds; `docs/problems.md` is that table.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use sfumato_signaling::ProblemKind;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page() -> String {
    let mut text = "# Problems\n\n\
        Every HTTP error has a body of type `application/problem+json` (RFC 9457) with `type`, `title`, `status`, `detail` and `instance`, and a refused\n\
        command of a room session has a `problem` with the same fields but the last. A program decides by `type`: `urn:sfumato:problem:` and one of these\n\
        words, which never change their meaning. `detail` is for people, and its words may change.\n\n\
        This page is made from the code (`crates/signaling/src/http/kinds.rs`).\n\n\
        | Type | Status | When, and what helps |\n|---|---|---|\n"
        .to_owned();
    for kind in ProblemKind::ALL {
        let status = if kind.slug == "http" { "any" } else { kind.status.as_str() };
        text += &format!("| `{}` | {status} | {} |\n", kind.slug, kind.meaning);
    }
    text
}

#[test]
fn the_page_of_problems_is_the_table_of_the_code() {
    let (path, page) = (root().join("docs/problems.md"), page());
    if std::env::var_os("SFUMATO_WRITE_SCHEMA").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == page,
        "docs/problems.md is not what the code says now; write it anew with\n\
         SFUMATO_WRITE_SCHEMA=1 cargo test -p sfumato-signaling --test problems"
    );
}

#[test]
fn kinds_are_told_apart_and_are_errors() {
    let slugs: HashSet<&str> = ProblemKind::ALL.iter().map(|kind| kind.slug).collect();
    assert_eq!(slugs.len(), ProblemKind::ALL.len());
    for kind in ProblemKind::ALL {
        let status = kind.status;
        assert!(status.is_client_error() || status.is_server_error(), "{}", kind.slug);
        assert!(!kind.title.is_empty() && kind.meaning.ends_with('.'), "{}", kind.slug);
        assert!(kind.slug.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{}", kind.slug);
    }
}

/// Files of the repository that may name a problem.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() && !matches!(name.as_str(), "node_modules" | "target" | "out") {
            files(&path, found);
        } else if [".rs", ".js", ".mjs", ".md", ".html"].iter().any(|end| name.ends_with(end)) {
            found.push(path);
        }
    }
}

#[test]
fn no_other_problem_is_named_anywhere() {
    let mut found = Vec::new();
    for folder in ["crates", "docs", "web", "e2e", "loadtest"] {
        files(&root().join(folder), &mut found);
    }
    let known: HashSet<&str> = ProblemKind::ALL.iter().map(|kind| kind.slug).collect();
    let mut named = 0;
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        for rest in text.split("urn:sfumato:problem:").skip(1) {
            let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '-');
            let slug = &rest[..end.unwrap_or(rest.len())];
            // Nothing follows where the text is a pattern.
            assert!(slug.is_empty() || known.contains(slug), "{}: {slug}", path.display());
            named += usize::from(!slug.is_empty());
        }
    }
    assert!(named > 5, "{named}");
}
