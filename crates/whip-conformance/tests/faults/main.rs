//! The suite fails when it should, and only then: a correct server passes, and each fault of a server is reported by
//! exactly the requirements that it breaks.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod server;

use server::{Fault, start};
use sfumato_whip_conformance::{Line, Options, Verdict, run};

/// All subjects but real connections, which this server does not support.
const SUBJECTS: [&str; 9] = [
    "whip.post.",
    "whip.answer.",
    "whip.get.",
    "whip.head.",
    "whip.cors.",
    "whip.patch.",
    "whip.delete.",
    "whip.session.",
    "whip.redirects",
];

fn options(url: &str, only: &str) -> Options {
    Options {
        whip: url.parse().unwrap(),
        whep: None,
        token: None,
        whep_token: None,
        origin: "http://localhost:8080".to_owned(),
        only: Some(only.to_owned()),
        strict: true,
        insecure: false,
    }
}

fn lines(fault: Fault) -> Vec<Line> {
    let url = start(fault);
    // A redirect is reported by a requirement only if an earlier request met it.
    let run_one = |only: &str| run(&options(&url, only), |_| {}).lines;
    if fault == Fault::Redirect302 {
        return run_one("whip.").into_iter().filter(|l| !l.id.contains(".conn.")).collect();
    }
    SUBJECTS.iter().flat_map(|only| run_one(only)).collect()
}

/// The requirements that were not met, including warnings.
fn failing(fault: Fault) -> Vec<String> {
    let lines = lines(fault);
    let failed = lines.iter().filter(|line| line.verdict == Verdict::Fail);
    failed.map(|line| line.id.strip_prefix("whip.").unwrap_or(&line.id).to_owned()).collect()
}

#[test]
fn a_server_that_does_everything_right_passes() {
    let lines = lines(Fault::None);
    assert!(lines.len() > 70, "{}", lines.len());
    for line in &lines {
        assert_ne!(line.verdict, Verdict::Fail, "{line}");
        let skipped = line.verdict == Verdict::Skip;
        let rightly = [
            "whip.post.ice-servers",
            "whip.cors.preflight-anonymous",
            "whip.patch.unsupported",
            "whip.redirects",
        ];
        assert!(!skipped || rightly.contains(&line.id.as_str()), "{line}");
    }
}

#[test]
fn every_fault_is_found_by_the_requirements_that_it_breaks_and_by_no_others() {
    let expected: &[(Fault, &[&str])] = &[
        (Fault::Status200, &["post.created"]),
        (Fault::NoLocation, &["post.location"]),
        (Fault::NoEtag, &["post.etag"]),
        (Fault::UnquotedEtag, &["post.etag"]),
        (Fault::WeakEtag, &["post.etag"]),
        (Fault::TextAnswer, &["post.content-type"]),
        (Fault::Sendrecv, &["answer.direction", "answer.sendrecv"]),
        (Fault::NoCandidates, &["answer.candidates"]),
        (Fault::TwoTransports, &["answer.one-transport"]),
        (Fault::ForeignPayload, &["answer.codecs"]),
        (Fault::ForeignExtension, &["answer.extensions"]),
        (Fault::NoBundle, &["answer.bundle"]),
        (Fault::Actpass, &["answer.setup", "answer.setup-active", "answer.setup-passive"]),
        (Fault::NoFingerprint, &["answer.fingerprint"]),
        (Fault::ShortPassword, &["answer.credentials"]),
        (Fault::AnyType, &["post.wrong-type", "post.no-type"]),
        (Fault::PartialAnswer, &["post.partial"]),
        (Fault::GetWithBody, &["get.endpoint", "get.session"]),
        (Fault::PreflightLinks, &["cors.preflight-no-link"]),
        (Fault::PatchStatus200, &["patch.trickle-answer"]),
        (Fault::RefusesOddCandidates, &["patch.unusable-candidates"]),
        (Fault::RestartKeepsCredentials, &["patch.restart-body", "patch.restart-twice"]),
        (Fault::RestartForgetsLite, &["patch.restart-options"]),
        (Fault::FailedRestartEnds, &["patch.failed-restart"]),
        (Fault::DeleteChecksEtag, &["delete.if-match"]),
        (Fault::CountsSessions, &["session.unguessable"]),
        (Fault::Redirect302, &["post.created", "redirects"]),
        (
            Fault::AnyBody,
            &[
                "post.not-sdp",
                "post.broken-sdp",
                "post.empty",
                "post.no-media",
                "post.fragment",
                "post.no-credentials",
                "post.no-fingerprint",
                "post.wrong-direction",
                "post.partial",
            ],
        ),
        (
            Fault::NoOptions,
            &["cors.options", "cors.preflight", "cors.preflight-patch", "cors.preflight-delete"],
        ),
        (
            Fault::NoCors,
            &[
                "cors.preflight",
                "cors.preflight-patch",
                "cors.preflight-delete",
                "cors.allowed",
                "cors.exposed",
            ],
        ),
        (
            Fault::NoPreconditions,
            &["patch.missing", "patch.stale", "patch.weak", "patch.restart-old-etag"],
        ),
        (
            Fault::RestartKeepsEtag,
            &["patch.restart-etag", "patch.restart-old-etag", "patch.restart-twice"],
        ),
        (Fault::DeleteKeeps, &["delete.gone", "delete.patch-gone", "delete.twice"]),
    ];
    let mut found = Vec::new();
    for some in expected.chunks(8) {
        std::thread::scope(|scope| {
            let one = |fault| scope.spawn(move || (fault, failing(fault)));
            let runs: Vec<_> = some.iter().map(|(fault, _)| one(*fault)).collect();
            found.extend(runs.into_iter().map(|run| run.join().unwrap()));
        });
    }
    let wrong: Vec<_> = found
        .iter()
        .zip(expected)
        .filter(|((_, found), (_, expected))| found != expected)
        .map(|((fault, found), (_, expected))| format!("{fault:?}: {found:?}, not {expected:?}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_answer_that_leads_nowhere_is_found_by_connecting() {
    let report = run(&options(&start(Fault::None), "whip.conn.connects"), |_| {});
    assert!(report.failed());
    assert_eq!(report.counts().fail, 1);
}

#[test]
fn a_server_that_is_not_there_fails_what_was_asked_and_skips_the_rest() {
    let report = run(&options("http://127.0.0.1:1/whip", "whip.post."), |_| {});
    let created = report.lines.iter().find(|line| line.id == "whip.post.created").unwrap();
    assert_eq!(created.verdict, Verdict::Fail);
    let etag = report.lines.iter().find(|line| line.id == "whip.post.etag").unwrap();
    assert_eq!(etag.verdict, Verdict::Skip);
}
