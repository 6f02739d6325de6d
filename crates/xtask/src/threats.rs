//! Holds `docs/threats.md` to its word: every test that it names is there.

use std::{collections::BTreeMap, fs};

use crate::{run::root, tidy::rust_files};

const PAGE: &str = "docs/threats.md";

/// Complains about tests that the page names and no crate has.
pub(crate) fn named_tests(complaints: &mut Vec<String>) -> Result<(), String> {
    let page = fs::read_to_string(root().join(PAGE)).map_err(|e| format!("{PAGE}: {e}"))?;
    let mut sources: BTreeMap<&str, String> = BTreeMap::new();
    for (name, test) in names(&page) {
        let source = sources.entry(name).or_insert_with(|| source_of(name));
        if !source.contains(&format!("fn {test}(")) {
            complaints.push(format!("{PAGE}: there is no test {name}::{test}"));
        }
    }
    Ok(())
}

/// All `crate::test` in code marks.
fn names(page: &str) -> Vec<(&str, &str)> {
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    let code = page.split('`').skip(1).step_by(2);
    code.filter_map(|code| code.split_once("::"))
        .filter(|(name, test)| *name != "crate" && plain(name) && plain(test))
        .collect()
}

fn source_of(name: &str) -> String {
    let mut files = Vec::new();
    rust_files(&root().join("crates").join(name), &mut files);
    files.iter().filter_map(|path| fs::read_to_string(path).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_code_marks_only() {
        let page = "a::b `rtp::reads` text `a=mid` `crate::test`, `fuzz-targets::x`";
        assert_eq!(names(page), [("rtp", "reads"), ("fuzz-targets", "x")]);
    }
}
