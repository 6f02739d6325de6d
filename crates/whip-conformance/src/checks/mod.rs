//! The requirements, by subject. Each module has a table of requirements, and below it their checks.

pub(crate) mod auth;
pub(crate) mod connectivity;
pub(crate) mod cors;
pub(crate) mod whep;
pub(crate) mod whip_answer;
pub(crate) mod whip_delete;
pub(crate) mod whip_patch;
pub(crate) mod whip_post;
pub(crate) mod whole;

use crate::requirement::{Face, Requirement};

/// The tables in the order of the checks: simple requirements first, and last those that look at the whole run.
const TABLES: &[&[Requirement]] = &[
    whep::REQUIREMENTS,
    whip_post::REQUIREMENTS,
    whip_answer::REQUIREMENTS,
    cors::REQUIREMENTS,
    whip_patch::REQUIREMENTS,
    whip_delete::REQUIREMENTS,
    auth::REQUIREMENTS,
    connectivity::REQUIREMENTS,
    whole::REQUIREMENTS,
];

/// The requirements of both protocols: WHIP first, since the checks of WHEP need a publisher that stays.
pub(crate) fn all() -> Vec<(Face, &'static Requirement)> {
    let of = |face| {
        let all = TABLES.iter().flat_map(|table| table.iter());
        all.filter(move |r| r.applies(face)).map(move |r| (face, r))
    };
    of(Face::Whip).chain(of(Face::Whep)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_unique_and_every_requirement_has_a_source() {
        let all = all();
        let ids: BTreeSet<String> = all.iter().map(|(face, r)| r.full_id(*face)).collect();
        assert_eq!(ids.len(), all.len());
        assert!(all.iter().all(|(face, r)| r.section(*face).len() > 5));
    }

    #[test]
    fn the_readme_lists_every_requirement() {
        let readme = include_str!("../../README.md");
        for (face, r) in all() {
            let row = format!("| `{}` |", r.full_id(face));
            assert!(readme.contains(&row), "not in README.md: {row}");
        }
    }
}
