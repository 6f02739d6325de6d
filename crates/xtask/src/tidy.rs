//! The rules of the house that no compiler checks. Every complaint names the file or crate and the rule.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    run::{metadata, root},
    threats,
};

/// Floor of each crate (ARCHITECTURE.md). Development crates stand outside the house: nobody may use them.
const FLOORS: &[(&str, u8)] = &[
    ("sfumato-model", 0),
    ("sfumato-rtp", 0),
    ("sfumato-ring", 0),
    ("sfumato-udp", 0),
    ("sfumato-transport", 1),
    ("sfumato-router", 1),
    ("sfumato-congestion", 1),
    ("sfumato-sdp", 1),
    ("sfumato-room", 1),
    ("sfumato-worker", 2),
    ("sfumato-signaling", 2),
    ("sfumato", 3),
];

/// Crates of the same floor that may be used: `room` speaks SDP.
const SAME_FLOOR: &[(&str, &str)] = &[
    ("sfumato-rtp", "sfumato-model"),
    ("sfumato-udp", "sfumato-model"),
    ("sfumato-room", "sfumato-sdp"),
];

const DEVELOPMENT: &[&str] = &[
    "xtask",
    "sfumato-interop",
    "sfumato-whip-conformance",
    "sfumato-fuzz-targets",
    "sfumato-bench",
    "sfumato-sim",
    "sfumato-loadtest",
];

/// Sans-IO crates: what they must not reach by any way, and the settings that ban the calls.
const CORES: &[&str] = &[
    "sfumato-model",
    "sfumato-rtp",
    "sfumato-transport",
    "sfumato-router",
    "sfumato-congestion",
    "sfumato-sdp",
    "sfumato-room",
];
const NOT_IN_CORES: &[&str] =
    &["tokio", "axum", "hyper", "socket2", "mio", "sfumato-udp", "sfumato-ring"];
const BANNED_CALLS: &[&str] = &[
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::net::UdpSocket",
];

/// Where `unsafe` may stand.
const UNSAFE: &[&str] = &["crates/udp/", "crates/ring/"];

pub(crate) fn tidy() -> Result<(), String> {
    let mut complaints = Vec::new();
    floors(&mut complaints)?;
    files(&mut complaints)?;
    core_settings(&mut complaints);
    threats::named_tests(&mut complaints)?;
    if complaints.is_empty() {
        println!("tidy: the house is in order");
        return Ok(());
    }
    complaints.sort();
    Err(format!("{}\ntidy: {} complaints", complaints.join("\n"), complaints.len()))
}

/// Who depends on whom, as cargo resolved it.
struct Graph {
    /// Package name by id.
    names: BTreeMap<String, String>,
    /// Normal dependencies by id (build and dev dependencies are no part of the product).
    edges: BTreeMap<String, Vec<String>>,
    members: Vec<String>,
}

fn graph() -> Result<Graph, String> {
    let json = metadata()?;
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
    let names =
        list(&json["packages"]).iter().map(|p| (text(&p["id"]), text(&p["name"]))).collect();
    let mut edges = BTreeMap::new();
    for node in list(&json["resolve"]["nodes"]) {
        let normal = list(&node["deps"])
            .into_iter()
            .filter(|dep| list(&dep["dep_kinds"]).iter().any(|kind| kind["kind"].is_null()));
        edges.insert(text(&node["id"]), normal.map(|dep| text(&dep["pkg"])).collect());
    }
    let members = list(&json["workspace_members"]).iter().map(text).collect();
    Ok(Graph { names, edges, members })
}

fn floors(complaints: &mut Vec<String>) -> Result<(), String> {
    let graph = graph()?;
    let floor = |name: &str| FLOORS.iter().find(|(n, _)| *n == name).map(|(_, f)| *f);
    for id in &graph.members {
        let name = &graph.names[id];
        let Some(own) = floor(name) else {
            if !DEVELOPMENT.contains(&name.as_str()) {
                complaints
                    .push(format!("{name}: stands on no floor; say in xtask/src/tidy.rs where"));
            }
            continue;
        };
        let reached = reach(&graph, id);
        for other in &reached {
            if DEVELOPMENT.contains(&other.as_str()) {
                complaints.push(format!("{name}: the product must not use {other}"));
            }
            if CORES.contains(&name.as_str()) && NOT_IN_CORES.contains(&other.as_str()) {
                complaints.push(format!("{name}: a sans-IO crate reaches {other}"));
            }
            let allowed = |f: u8| f < own || SAME_FLOOR.contains(&(name.as_str(), other.as_str()));
            if let Some(f) = floor(other)
                && !allowed(f)
            {
                complaints.push(format!("{name} (floor {own}) uses {other} (floor {f})"));
            }
        }
    }
    Ok(())
}

/// Names of everything that a package reaches.
fn reach(graph: &Graph, from: &str) -> BTreeSet<String> {
    let (mut seen, mut todo) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(id) = todo.pop() {
        for next in graph.edges.get(&id).into_iter().flatten() {
            if seen.insert(next.clone()) {
                todo.push(next.clone());
            }
        }
    }
    seen.iter().map(|id| graph.names[id].clone()).collect()
}

fn files(complaints: &mut Vec<String>) -> Result<(), String> {
    let root = root();
    let mut sources = Vec::new();
    for dir in ["crates", "fuzz", "loadtest"] {
        rust_files(&root.join(dir), &mut sources);
    }
    for path in sources {
        let shown = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        let text = fs::read_to_string(&path).map_err(|e| format!("{shown}: {e}"))?;
        let first = text.lines().find(|l| !l.starts_with("#!"));
        if !first.is_some_and(|l| l.starts_with("//!")) {
            complaints.push(format!("{shown}: opens without `//!`: what is it, what is it not?"));
        }
        if shown.starts_with("crates/") {
            unsafe_blocks(&shown, &text, complaints);
        }
    }
    Ok(())
}

fn unsafe_blocks(shown: &str, text: &str, complaints: &mut Vec<String>) {
    let allowed = UNSAFE.iter().any(|dir| shown.starts_with(dir));
    // A counting allocator cannot be written without; tests only.
    let in_tests = shown.contains("/tests/");
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let opens = ["unsafe {", "unsafe fn", "unsafe impl"].iter().any(|s| code.contains(s));
        if !opens || code.contains('"') {
            continue;
        }
        if !allowed && !in_tests {
            complaints.push(format!("{shown}:{}: `unsafe` outside of udp and ring", at + 1));
        }
        let above = lines[at.saturating_sub(8)..=at].iter();
        if !above.into_iter().any(|l| l.contains("SAFETY:") || l.contains("# Safety")) {
            complaints.push(format!("{shown}:{}: `unsafe` without a SAFETY note", at + 1));
        }
    }
}

pub(crate) fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if !path.ends_with("target") && !path.ends_with("node_modules") {
                rust_files(&path, found);
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn core_settings(complaints: &mut Vec<String>) {
    for name in CORES {
        let short = name.trim_start_matches("sfumato-");
        let shown = format!("crates/{short}/clippy.toml");
        let text = fs::read_to_string(root().join(&shown)).unwrap_or_default();
        for call in BANNED_CALLS {
            if !text.contains(call) {
                complaints.push(format!("{shown}: does not ban {call}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_house_is_in_order() {
        if let Err(complaints) = super::tidy() {
            panic!("{complaints}");
        }
    }

    #[test]
    fn unsafe_without_a_reason_is_found() {
        let mut complaints = Vec::new();
        super::unsafe_blocks(
            "crates/udp/src/x.rs",
            "fn f() {\n    unsafe { g() }\n}",
            &mut complaints,
        );
        assert_eq!(complaints, ["crates/udp/src/x.rs:2: `unsafe` without a SAFETY note"]);
        complaints.clear();
        let noted = "// SAFETY: g is sound\nunsafe { g() }";
        super::unsafe_blocks("crates/udp/src/x.rs", noted, &mut complaints);
        assert_eq!(complaints, Vec::<String>::new());
        super::unsafe_blocks("crates/router/src/x.rs", noted, &mut complaints);
        assert_eq!(complaints, ["crates/router/src/x.rs:2: `unsafe` outside of udp and ring"]);
    }
}
