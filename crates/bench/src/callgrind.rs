//! Reads callgrind's output files (its manual, "Callgrind Format Specification"): instructions by function and by step
//! of the packet path. Only the first event of a line is read, which is instructions.

use std::collections::HashMap;

/// Parts of function or file names, and the step that each belongs to. The first part that a name contains decides.
pub(crate) type Steps = [(&'static str, &'static str)];

/// One profile.
#[derive(Debug, Default)]
pub(crate) struct Profile {
    /// All instructions.
    pub(crate) total: u64,
    /// Instructions of each function itself, with the code inlined into it.
    own: HashMap<String, u64>,
    /// Instructions by step. Code that belongs to no step counts for the step that called it.
    steps: HashMap<&'static str, u64>,
}

impl Profile {
    /// Reads an output file of callgrind with positions by line.
    ///
    /// Inlined code belongs to the step of its file, other code to the step of its function. Code of neither
    /// (libraries) belongs, with everything it calls, to the step that calls it.
    pub(crate) fn parse(text: &str, steps: &Steps) -> Self {
        let mut names = [HashMap::new(), HashMap::new()];
        let [functions, files] = &mut names;
        let mut profile = Self::default();
        let (mut function, mut callee, mut file) = (String::new(), String::new(), String::new());
        // The line after `calls=` holds the cost of the call.
        let mut called = false;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("fn=") {
                function = expand(functions, name);
            } else if let Some(name) = line.strip_prefix("cfn=") {
                callee = expand(functions, name);
            } else if let Some(name) =
                ["fl=", "fi=", "fe="].iter().find_map(|kind| line.strip_prefix(kind))
            {
                file = module(&expand(files, name));
            } else if let Some(name) =
                ["cfi=", "cfl="].iter().find_map(|kind| line.strip_prefix(kind))
            {
                // This line may be the first that gives the name behind a number.
                expand(files, name);
            } else if line.starts_with("calls=") {
                called = true;
            } else if let Some(cost) = cost(line) {
                let step = step(steps, &file).or_else(|| step(steps, &function));
                if !std::mem::take(&mut called) {
                    profile.total += cost;
                    *profile.own.entry(function.clone()).or_default() += cost;
                } else if self::step(steps, &callee).is_some() || callee == function {
                    continue;
                }
                if let Some(step) = step {
                    *profile.steps.entry(step).or_default() += cost;
                }
            }
        }
        profile
    }

    /// Instructions of a step; 0 when there is none.
    pub(crate) fn step(&self, name: &str) -> u64 {
        self.steps.get(name).copied().unwrap_or(0)
    }

    /// The functions with the most instructions of their own.
    pub(crate) fn hottest(&self, count: usize) -> Vec<(&str, u64)> {
        let mut all: Vec<_> = self.own.iter().map(|(name, &own)| (name.as_str(), own)).collect();
        all.sort_by_key(|&(name, own)| (std::cmp::Reverse(own), name));
        all.truncate(count);
        all
    }
}

fn step(steps: &Steps, place: &str) -> Option<&'static str> {
    steps.iter().find(|(part, _)| place.contains(part)).map(|&(_, step)| step)
}

/// The name that functions of a file begin with: `/x/crates/worker/src/core.rs` gives `sfumato_worker::core.rs`. Empty
/// for files outside the workspace.
fn module(file: &str) -> String {
    let inside = file.rsplit_once("/crates/").and_then(|(_, inside)| inside.split_once("/src/"));
    inside.map_or_else(String::new, |(name, path)| {
        format!("sfumato_{}::{}", name.replace('-', "_"), path.replace('/', "::"))
    })
}

/// A name in callgrind's compression: `(id) name` where it comes first, `(id)` afterwards.
fn expand(names: &mut HashMap<String, String>, text: &str) -> String {
    let Some((id, name)) = text.strip_prefix('(').and_then(|text| text.split_once(')')) else {
        return text.to_owned();
    };
    if name.is_empty() {
        return names.get(id).cloned().unwrap_or_default();
    }
    names.insert(id.to_owned(), name.trim_start().to_owned());
    name.trim_start().to_owned()
}

/// The cost in a line `position cost`; positions are absolute, relative (`+3`, `-3`) or the same (`*`).
fn cost(line: &str) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace();
    let position = fields.next()?;
    let digits = position.trim_start_matches(['+', '-', '*']);
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    fields.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
# callgrind format
version: 1
creator: callgrind-3.19.0
cmd:  ./bench core 1
part: 1
positions: line
events: Ir
summary: 1000

ob=(1) /bench
fl=(1) /w/crates/worker/src/lab.rs
fn=(1) sfumato_bench::measured_turn
16 100
fi=(2) /w/crates/worker/src/demux.rs
+3 50
cfn=(2) sfumato_worker::ingress::take_rtp
calls=2 50
* 400
fe=(1)
cfi=(3) /w/crates/worker/src/send.rs
cfn=(3) sfumato_worker::send::Outbox::flush
calls=1 20
+1 530

fn=(2)
50 300
cob=(2) /libc
cfn=(4) memcpy
calls=5 0
52 100

fl=(3)
fn=(3)
20 450
cfn=(3)
calls=1 20
21 450
cfn=(4)
calls=1 0
22 80

ob=(2)
fl=(4) ./string/memcpy.S
fn=(4)
0 180

totals: 1080
";
    const STEPS: &Steps =
        &[("worker::send", "send"), ("worker::demux", "demux"), ("worker::ingress", "ingress")];

    #[test]
    fn steps_have_their_inlined_code_and_their_libraries() {
        let profile = Profile::parse(OUTPUT, STEPS);
        assert_eq!(profile.total, 1_080);
        assert_eq!(profile.step("demux"), 50, "inlined into a function of another place");
        assert_eq!(profile.step("ingress"), 400, "with the copying that it asks for");
        assert_eq!(profile.step("send"), 530, "calls of itself count once");
        assert_eq!(profile.step("nothing"), 0);
        assert_eq!(
            profile.hottest(2),
            [
                ("sfumato_worker::send::Outbox::flush", 450),
                ("sfumato_worker::ingress::take_rtp", 300)
            ]
        );
    }

    #[test]
    fn strange_text_costs_nothing() {
        assert_eq!(Profile::parse("", STEPS).total, 0);
        assert_eq!(Profile::parse("fn=\ncalls=\n+ x\n(1) 5\n16\n", STEPS).total, 0);
    }
}
