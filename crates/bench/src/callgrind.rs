//! Reads the profiles that callgrind writes (its manual, "Callgrind Format Specification"): instructions by function,
//! with and without what they call. Only the first event counts, which is instructions.

use std::collections::HashMap;

/// Instructions of one function.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    /// In its own code, inlined code with it.
    pub(crate) own: u64,
    /// With everything that it called.
    pub(crate) inclusive: u64,
}

/// A profile.
#[derive(Debug, Default)]
pub(crate) struct Profile {
    /// All instructions.
    pub(crate) total: u64,
    functions: HashMap<String, Cost>,
}

impl Profile {
    /// Reads an output file of callgrind with positions by line.
    pub(crate) fn parse(text: &str) -> Self {
        let mut names = HashMap::new();
        let (mut own, mut calls) = (HashMap::<String, u64>::new(), HashMap::<String, u64>::new());
        let (mut function, mut callee) = (String::new(), String::new());
        // The line after `calls=` tells what the call cost.
        let mut called = false;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("fn=") {
                function = expand(&mut names, name);
            } else if let Some(name) = line.strip_prefix("cfn=") {
                callee = expand(&mut names, name);
            } else if line.starts_with("calls=") {
                called = true;
            } else if let Some(cost) = cost(line) {
                if !std::mem::take(&mut called) {
                    *own.entry(function.clone()).or_default() += cost;
                } else if callee != function {
                    // What a function calls of itself is in its own sum already.
                    *calls.entry(function.clone()).or_default() += cost;
                }
            }
        }
        let total = own.values().sum();
        let mut functions: HashMap<String, Cost> =
            own.into_iter().map(|(name, own)| (name, Cost { own, inclusive: own })).collect();
        for (name, cost) in calls {
            functions.entry(name).or_default().inclusive += cost;
        }
        Self { total, functions }
    }

    /// Instructions with callees of all functions whose name holds `part`, if there are any. The functions must not
    /// call one another.
    pub(crate) fn inclusive(&self, part: &str) -> Option<u64> {
        let matching = self.functions.iter().filter(|(name, _)| name.contains(part));
        matching.map(|(_, cost)| cost.inclusive).reduce(|a, b| a + b)
    }

    /// The functions with the most instructions of their own.
    pub(crate) fn hottest(&self, count: usize) -> Vec<(&str, Cost)> {
        let mut all: Vec<_> =
            self.functions.iter().map(|(name, &cost)| (name.as_str(), cost)).collect();
        all.sort_by_key(|&(name, cost)| (std::cmp::Reverse(cost.own), name));
        all.truncate(count);
        all
    }
}

/// A name, compressed as `(id) name` where it stands first and as `(id)` afterwards.
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
fl=(1) src/lab.rs
fn=(1) bench::measured_frames
16 100
+3 50
cfn=(2) bench::take_in
calls=2 50
* 400
cfi=(2) src/send.rs
cfn=(3) bench::send_out
calls=1 20
+1 500

fn=(2)
50 300
fi=(2)
-2 50
fe=(1)
cob=(2) /libc
cfn=(4) memcpy
calls=5 0
52 50

fn=(3)
20 450
cfn=(3)
calls=1 20
21 450
cfn=(4)
calls=1 0
22 50

ob=(2)
fn=(4)
0 100

totals: 1000
";

    #[test]
    fn costs_are_summed_with_callees_and_without() {
        let profile = Profile::parse(OUTPUT);
        assert_eq!(profile.total, 1_050);
        assert_eq!(profile.inclusive("measured_frames"), Some(1_050));
        assert_eq!(profile.inclusive("take_in"), Some(400));
        assert_eq!(profile.inclusive("memcpy"), Some(100));
        assert_eq!(profile.inclusive("nobody"), None);
        assert_eq!(
            profile.hottest(2),
            [
                ("bench::send_out", Cost { own: 450, inclusive: 500 }),
                ("bench::take_in", Cost { own: 350, inclusive: 400 }),
            ]
        );
    }

    #[test]
    fn strange_text_costs_nothing() {
        assert_eq!(Profile::parse("").total, 0);
        assert_eq!(Profile::parse("fn=\ncalls=\n+ x\n(1) 5\n16\n").total, 0);
    }
}
