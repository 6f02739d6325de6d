//! The report as a page that needs nothing else: no scripts, no fonts, no network.

use std::fmt::{self, Display, Write};

use super::{
    Report, Second,
    plot::{Line, Plot},
    text::rows,
};
use crate::{
    threshold::{frame_loss, loss},
    units::{show_bitrate, show_count, show_time},
};

/// The page.
pub fn to_html(report: &Report) -> String {
    let mut page = String::new();
    // Writing to a string never fails.
    _ = write_page(&mut page, report);
    page
}

fn write_page(out: &mut String, report: &Report) -> fmt::Result {
    let name = Escaped(&report.scenario);
    write!(
        out,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{name} - sfumato-loadtest</title><style>{STYLE}</style><main>"
    )?;
    let (class, word) = match &report.ramp {
        // Neither good nor bad: it is what a ramp is for.
        Some(ramp) if !ramp.broken.is_empty() => ("", "broke, as ramps do"),
        _ if report.is_good() => ("good", "passed"),
        _ => ("bad", "failed"),
    };
    let ended = if report.interrupted { ", interrupted" } else { "" };
    let counted = match report.counted {
        counted if counted == report.played => String::new(),
        counted => format!("; figures are of the last {}, plots of all", show_time(counted)),
    };
    write!(
        out,
        "<header><h1>{name} <span class=\"badge {class}\">{word}</span></h1><p>{}</p>\
         <p class=\"unit\">ran for {}{ended}{counted}</p></header>",
        Escaped(&report.description),
        show_time(report.played),
    )?;
    tiles(out, report)?;
    verdicts(out, report)?;
    failures(out, report)?;
    write!(out, "<section>")?;
    for plot in plots(&report.timeline).iter().filter(|plot| plot.has_points()) {
        *out += &plot.to_svg();
    }
    write!(out, "</section>")?;
    times(out, report)?;
    counters(out, report)?;
    write!(out, "</main></html>")
}

fn tiles(out: &mut String, report: &Report) -> fmt::Result {
    let c = &report.counters;
    let delay = |q| report.times.delay.quantile(q).map_or_else(|| "-".to_owned(), show_time);
    let share = |s: Option<f64>| s.map_or_else(|| "-".to_owned(), |s| format!("{:.3} %", s * 1e2));
    let tiles = [
        ("joined", show_count(report.bots.joined)),
        ("failed", show_count(report.bots.failed)),
        ("received", show_bitrate(report.bitrate())),
        ("packets lost", share(loss(c))),
        ("frames lost", share(frame_loss(c))),
        ("delay p50", delay(0.5)),
        ("delay p99", delay(0.99)),
        ("freezes", show_count(c.freezes)),
    ];
    tile_row(out, &tiles)?;
    let Some(bystanders) = &report.bystanders else { return Ok(()) };
    let (c, delay) = (&bystanders.tally.counters, &bystanders.tally.times.delay);
    let delay = |q| delay.quantile(q).map_or_else(|| "-".to_owned(), show_time);
    write!(out, "<h2>Bystanders, who were there before the others</h2>")?;
    tile_row(
        out,
        &[
            ("joined", show_count(bystanders.joined)),
            ("failed", show_count(bystanders.failed)),
            ("packets lost", share(loss(c))),
            ("frames lost", share(frame_loss(c))),
            ("delay p50", delay(0.5)),
            ("delay p99", delay(0.99)),
            ("freezes", show_count(c.freezes)),
            ("frozen for", format!("{:.1} s", c.freeze_us as f64 / 1e6)),
        ],
    )
}

fn tile_row(out: &mut String, tiles: &[(&str, String)]) -> fmt::Result {
    write!(out, "<dl class=\"tiles\">")?;
    for (name, value) in tiles {
        write!(out, "<div><dt>{name}</dt><dd>{value}</dd></div>")?;
    }
    write!(out, "</dl>")
}

fn verdicts(out: &mut String, report: &Report) -> fmt::Result {
    let (title, all) = match &report.ramp {
        Some(ramp) if ramp.broken.is_empty() => {
            return write!(out, "<p>The ramp came to its top of {} viewers.</p>", ramp.viewers);
        }
        Some(ramp) => (
            format!("The ramp broke at {} viewers; {} held", ramp.viewers, ramp.held),
            &ramp.broken,
        ),
        None if report.verdicts.is_empty() => return Ok(()),
        None => ("Thresholds".to_owned(), &report.verdicts),
    };
    write!(out, "<h2>{title}</h2><table><tr><th>threshold</th><th>value</th><th></th></tr>")?;
    for verdict in all {
        let (class, word) = if verdict.broken { ("bad", "broken") } else { ("good", "kept") };
        write!(
            out,
            "<tr><td>{}</td><td>{}</td><td><span class=\"badge {class}\">{word}</span></td></tr>",
            Escaped(&verdict.threshold),
            Escaped(&verdict.value),
        )?;
    }
    write!(out, "</table>")
}

fn failures(out: &mut String, report: &Report) -> fmt::Result {
    if report.failures.is_empty() {
        return Ok(());
    }
    write!(out, "<h2>Why bots failed</h2><table><tr><th>reason</th><th>bots</th></tr>")?;
    for (reason, count) in report.failures.sorted() {
        write!(out, "<tr><td>{}</td><td>{}</td></tr>", Escaped(reason), show_count(count))?;
    }
    write!(out, "</table>")
}

fn times(out: &mut String, report: &Report) -> fmt::Result {
    write!(
        out,
        "<h2>Times</h2><table><tr><th></th><th>samples</th><th>p50</th><th>p95</th><th>p99</th><th>p99.9</th><th>max</th></tr>"
    )?;
    let bystanders =
        report.bystanders.as_ref().map(|b| ("bystanders' delay", &b.tally.times.delay));
    for (name, histogram) in rows(&report.times).into_iter().chain(bystanders) {
        if histogram.count() == 0 {
            continue;
        }
        write!(out, "<tr><td>{name}</td><td>{}</td>", show_count(histogram.count()))?;
        for q in [0.5, 0.95, 0.99, 0.999, 1.0] {
            write!(out, "<td>{}</td>", histogram.quantile(q).map(show_time).unwrap_or_default())?;
        }
        write!(out, "</tr>")?;
    }
    write!(out, "</table>")
}

fn counters(out: &mut String, report: &Report) -> fmt::Result {
    write!(out, "<details><summary>All counters</summary><table>")?;
    let all = serde_json::to_value(report.counters).unwrap_or_default();
    let bots = serde_json::to_value(report.bots).unwrap_or_default();
    for (name, value) in bots.as_object().into_iter().chain(all.as_object()).flatten() {
        let value = value.as_u64().unwrap_or(0);
        write!(
            out,
            "<tr><td>{}</td><td>{}</td></tr>",
            Escaped(&name.replace('_', " ")),
            show_count(value)
        )?;
    }
    write!(out, "</table></details>")
}

fn plots(timeline: &[Second]) -> Vec<Plot> {
    let line = |name, value: &dyn Fn(&Second) -> Option<f64>| Line {
        name,
        points: timeline.iter().map(|second| (second.at as f64, value(second))).collect(),
    };
    let delay = |q: f64| move |s: &Second| s.times.delay.quantile(q).map(|d| d.as_secs_f64() * 1e3);
    let bystanders = |q: f64| {
        move |s: &Second| {
            let delay = s.bystanders.as_ref()?.times.delay.quantile(q);
            delay.map(|d| d.as_secs_f64() * 1e3)
        }
    };
    let lag = |s: &Second| s.times.lag.quantile(0.99).map(|d| d.as_secs_f64() * 1e3);
    vec![
        Plot {
            title: "Bots",
            unit: "",
            lines: vec![
                line("watching", &|s| Some(s.viewers as f64)),
                line("sending", &|s| Some(s.publishers as f64)),
                line("joining", &|s| Some(s.joining as f64)),
                line("failed so far", &|s| Some(s.failed as f64)),
            ],
        },
        Plot {
            title: "Delay",
            unit: "ms",
            lines: vec![
                line("p50", &delay(0.5)),
                line("p95", &delay(0.95)),
                line("p99", &delay(0.99)),
                // Not the longest of all: one packet of one viewer would flatten all the rest.
                line("p99.9", &delay(0.999)),
            ],
        },
        Plot {
            title: "Delay of the bystanders",
            unit: "ms",
            lines: vec![
                line("p50", &bystanders(0.5)),
                line("p99", &bystanders(0.99)),
                line("max", &bystanders(1.0)),
            ],
        },
        Plot {
            title: "Received",
            unit: "Mbit/s",
            lines: vec![line("bitrate", &|s| Some(s.counters.received_bytes as f64 * 8e-6))],
        },
        Plot {
            title: "Loss after retransmission",
            unit: "% of a second's packets",
            lines: vec![
                line("packets", &|s| loss(&s.counters).map(|l| l * 100.0)),
                line("frames", &|s| frame_loss(&s.counters).map(|l| l * 100.0)),
            ],
        },
        Plot {
            title: "Freezes and requests",
            unit: "a second",
            lines: vec![
                line("freezes", &|s| Some(s.counters.freezes as f64)),
                line("key frames asked for", &|s| Some(s.counters.plis_sent as f64)),
                line("packets asked for", &|s| Some(s.counters.nacks_sent as f64)),
            ],
        },
        Plot {
            title: "Processor",
            unit: "cores",
            lines: vec![line("server", &|s| s.server_cpu), line("swarm", &|s| s.swarm_cpu)],
        },
        Plot {
            title: "Memory of the server",
            unit: "MB",
            lines: vec![line("resident", &|s| s.server_memory.map(|bytes| bytes as f64 / 1e6))],
        },
        Plot { title: "Lag of the swarm itself", unit: "ms", lines: vec![line("p99", &lag)] },
    ]
}

/// Text that is no markup.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            c => f.write_char(c),
        })
    }
}

const STYLE: &str = "\
:root{color-scheme:light dark;--bg:#faf8f5;--fg:#221f1c;--soft:#6d655d;--line:#e2dcd4;--card:#fff;--good:#2c7a4b;--bad:#b3372a;\
--k0:#2f6f9f;--k1:#c2702e;--k2:#7a5aa8;--k3:#b3372a}\
@media(prefers-color-scheme:dark){:root{--bg:#191714;--fg:#ece6de;--soft:#a1978c;--line:#37322c;--card:#221f1b;--good:#6cc08b;--bad:#ef8273;\
--k0:#7fb6e0;--k1:#eba468;--k2:#b79be2;--k3:#ef8273}}\
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}\
main{max-width:1160px;margin:0 auto;padding:28px 20px 60px}h1{font-size:26px;margin:0}h2{font-size:18px;margin:34px 0 8px}\
header p{margin:4px 0}.unit{color:var(--soft);font-weight:400}.badge{font-size:13px;padding:2px 9px;border-radius:99px;border:1px solid;vertical-align:middle;font-weight:500}\
.good{color:var(--good)}.bad{color:var(--bad)}.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(125px,1fr));gap:10px;margin:22px 0}\
.tiles div,figure,table{background:var(--card);border:1px solid var(--line);border-radius:10px}.tiles div{padding:10px 12px}dt{color:var(--soft);font-size:13px}\
dd{margin:0;font-size:17px;white-space:nowrap;font-variant-numeric:tabular-nums}section{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,500px),1fr));gap:14px;margin-top:26px}\
figure{margin:0;padding:12px 12px 4px}figcaption{font-weight:600;display:flex;flex-wrap:wrap;gap:4px 8px;align-items:baseline}.legend{margin-left:auto;font-weight:400;font-size:13px}\
.key{margin-left:12px;color:var(--soft)}.key:before{content:'';display:inline-block;width:14px;height:3px;margin-right:5px;vertical-align:middle;background:currentColor}\
.key.k0:before{background:var(--k0)}.key.k1:before{background:var(--k1)}.key.k2:before{background:var(--k2)}.key.k3:before{background:var(--k3)}\
svg{width:100%;height:auto;display:block}svg text{fill:var(--soft);font-size:11px;font-variant-numeric:tabular-nums}.y{text-anchor:end}.x{text-anchor:middle}\
.grid{stroke:var(--line)}.line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}\
.line.k0{stroke:var(--k0)}.line.k1{stroke:var(--k1)}.line.k2{stroke:var(--k2)}.line.k3{stroke:var(--k3)}\
table{border-collapse:separate;border-spacing:0;font-variant-numeric:tabular-nums;overflow:hidden}th,td{padding:5px 14px;text-align:right}th{color:var(--soft);font-weight:500}\
th:first-child,td:first-child{text-align:left}tr+tr td{border-top:1px solid var(--line)}details{margin-top:26px}summary{cursor:pointer;margin-bottom:10px}";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        report::{Bots, Bystanders},
        stats::{Counters, Reasons, Tally, Times},
        threshold::Verdict,
    };

    fn report() -> Report {
        let mut times = Times::default();
        times.delay.record(Duration::from_millis(3));
        let counters =
            Counters { received_packets: 10, expected_packets: 10, ..Counters::default() };
        let mut failures = Reasons::default();
        failures.add("http 500: <script>alert(1)</script>");
        let second = |at| Second {
            at,
            publishers: 1,
            viewers: at,
            joining: 0,
            joined: at,
            failed: 0,
            counters,
            times: times.clone(),
            bystanders: None,
            server_cpu: Some(0.5),
            server_memory: Some(1 << 20),
            swarm_cpu: None,
        };
        Report {
            scenario: "a & b".into(),
            description: "one <b>".into(),
            played: Duration::from_secs(2),
            counted: Duration::from_secs(1),
            interrupted: true,
            bots: Bots { joined: 3, ..Bots::default() },
            failures,
            counters,
            times: times.clone(),
            bystanders: None,
            ramp: None,
            verdicts: vec![Verdict {
                threshold: "loss > 1%".into(),
                broken: false,
                value: "0 %".into(),
            }],
            timeline: vec![second(1), second(2)],
            server_cpu: None,
            server_memory: None,
            own: None,
            buffer_drops: 0,
            threads: 1,
        }
    }

    #[test]
    fn the_page_is_whole_and_needs_nothing() {
        let page = to_html(&report());
        assert!(page.ends_with("</main></html>"));
        assert_eq!(page.matches("<svg").count(), 7, "without the lag, of which nothing is known");
        for foreign in ["http://", "https://", "<script", "<link", "src=", "@import", "url("] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        for (open, close) in [
            ("<table>", "</table>"),
            ("<figure>", "</figure>"),
            ("<tr>", "</tr>"),
            ("<div>", "</div>"),
        ] {
            assert_eq!(page.matches(open).count(), page.matches(close).count(), "{open}");
        }
    }

    #[test]
    fn bystanders_have_a_part_of_their_own() {
        let mut report = report();
        let tally = Tally { counters: report.counters, times: report.times.clone() };
        report.timeline[1].bystanders = Some(tally.clone());
        report.bystanders = Some(Bystanders { joined: 77, failed: 0, tally });
        let page = to_html(&report);
        assert_eq!(page.matches("<svg").count(), 8);
        assert!(page.contains("<dd>77</dd>") && page.contains("bystanders' delay"));
        let text = crate::report::text::summary(&report);
        assert!(text.contains("bystanders 77 joined") && text.contains("\n  bystanders"), "{text}");
        let json = crate::report::json::to_json(&report);
        assert_eq!(json["bystanders"]["joined"], 77);
        assert_eq!(json["bystanders"]["times_ms"]["delay"]["count"], 1);
        assert_eq!(json["timeline"][1]["bystanders"]["loss"], 0.0);
        assert_eq!(json["timeline"][0]["bystanders"], serde_json::Value::Null);
    }

    #[test]
    fn what_servers_say_is_text() {
        let page = to_html(&report());
        assert!(page.contains("&lt;script&gt;alert(1)"));
        assert!(page.contains("a &amp; b") && page.contains("one &lt;b&gt;"));
        assert!(page.contains("loss &gt; 1%"));
    }
}
