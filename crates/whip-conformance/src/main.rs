//! `whip-conformance`: the command line of the suite.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use sfumato_whip_conformance::{Options, requirements, run};
use url::Url;

/// Checks a WHIP (RFC 9725) and WHEP server against the specifications, from outside.
///
/// The exit code is 1 when a MUST is not met, and 2 when the suite could not run.
#[derive(Parser)]
#[command(name = "whip-conformance", version)]
struct Arguments {
    /// The WHIP endpoint, such as `https://example.com/whip/test`.
    #[arg(required_unless_present = "list")]
    url: Option<Url>,
    /// The WHEP endpoint that plays what the WHIP endpoint receives.
    #[arg(long, value_name = "URL")]
    whep: Option<Url>,
    /// Bearer token of all requests. With it authentication is checked too.
    #[arg(long, env = "WHIP_CONFORMANCE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Another token for WHEP, if no bearer may both publish and play.
    #[arg(long, value_name = "TOKEN", env = "WHEP_CONFORMANCE_TOKEN", hide_env_values = true)]
    whep_token: Option<String>,
    /// The origin that cross-origin requests come from; the server must allow it.
    #[arg(long, default_value = "http://localhost:8080")]
    origin: String,
    /// Only requirements whose id contains this text.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// An unmet SHOULD is a failure.
    #[arg(long)]
    strict: bool,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    json: bool,
    /// Do not check the certificate of an https server.
    #[arg(long)]
    insecure: bool,
    /// List the requirements as a Markdown table, and check nothing.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    match main_with(Arguments::parse(), &mut io::stdout().lock()) {
        Ok(code) => code,
        Err(error) => {
            _ = writeln!(io::stderr(), "whip-conformance: {error}");
            ExitCode::from(2)
        }
    }
}

fn main_with(arguments: Arguments, out: &mut impl Write) -> io::Result<ExitCode> {
    if arguments.list {
        return list(out).map(|()| ExitCode::SUCCESS);
    }
    let Some(whip) = arguments.url else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is no URL"));
    };
    for url in [Some(&whip), arguments.whep.as_ref()].into_iter().flatten() {
        if !matches!(url.scheme(), "http" | "https") {
            let text = format!("{url}: the scheme has to be http or https");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
    }
    let options = Options {
        whip,
        whep: arguments.whep,
        token: arguments.token,
        whep_token: arguments.whep_token,
        origin: arguments.origin,
        only: arguments.only,
        strict: arguments.strict,
        insecure: arguments.insecure,
    };
    let mut written = Ok(());
    let report = run(&options, |line| {
        if !arguments.json && written.is_ok() {
            written = writeln!(out, "{line}");
        }
    });
    written?;
    if arguments.json {
        writeln!(out, "{:#}", report.json())?;
    } else {
        writeln!(out, "\n{}", report.counts())?;
    }
    if report.lines.is_empty() {
        return Err(io::Error::other("no requirement has an id like that; --list shows them"));
    }
    Ok(if report.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn list(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "| Id | Level | Section | Requirement |\n|---|---|---|---|")?;
    for r in requirements() {
        let level = format!("{:?}", r.level).to_uppercase();
        writeln!(out, "| `{}` | {level} | {} | {} |", r.id, r.section, r.title)?;
    }
    Ok(())
}
