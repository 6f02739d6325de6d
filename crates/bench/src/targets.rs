//! The marks of the packet path, beside what was measured. They are printed and not enforced, because times depend on
//! what else the machine does.

use crate::{
    extra,
    node::{self, Show},
    path,
    report::{Mark, Table},
    sessions,
};

/// A mark: its name and unit, the measured value, and what it should be.
type Target = (String, &'static str, Option<f64>, Mark);

/// The marks that these tables can answer.
pub(crate) fn table(tables: &[Table]) -> Table {
    let mut table = Table::new("targets", "what is to be reached", &["measured", "mark"]);
    for (name, unit, measured, mark) in packets(tables).into_iter().chain(others(tables)) {
        // A quantity that was not measured in this run has no mark.
        if let Some(measured) = measured {
            table.mark(name, unit, measured, mark);
        }
    }
    table
}

fn value(tables: &[Table], id: &str, row: &str, column: &str) -> Option<f64> {
    tables.iter().find(|table| table.id == id)?.value(row, column)
}

fn packets(tables: &[Table]) -> Vec<Target> {
    let node = |row: &str, show: Show| value(tables, "node", row, &show.name());
    let mut all = Vec::new();
    for viewers in [100, 500] {
        let show = Show::Video(viewers);
        all.push((
            format!("{}: of the limit", show.name()),
            "%",
            node(node::SHARE, show),
            Mark::AtLeast(50.0),
        ));
    }
    let (hundred, thousand) = (Show::Video(100), Show::Video(1_000));
    all.push((
        format!("{}: packets per processor second", hundred.name()),
        "",
        node(node::RATE, hundred),
        Mark::AtLeast(1_010_000.0),
    ));
    let dearer = node(node::PRICE, thousand).zip(node(node::PRICE, hundred));
    all.push((
        "price at 1,000 over price at 100".to_owned(),
        "x",
        dearer.map(|(many, few)| many / few),
        Mark::AtMost(1.15),
    ));
    all.push((
        format!("{}: of the limit of single sends", Show::Sound.name()),
        "%",
        node(node::SHARE, Show::Sound),
        Mark::AtLeast(80.0),
    ));
    all.extend(delay(tables));
    all.push((
        "AES-CM over AES-128-GCM, 100 subscribers".to_owned(),
        "x",
        value(tables, "path", path::DEARER, "100"),
        Mark::AtMost(3.0),
    ));
    all
}

/// From the show of constant pictures that loads the node by about half.
fn delay(tables: &[Table]) -> Option<Target> {
    let node = tables.iter().find(|table| table.id == "node")?;
    let loads = node.columns.iter().filter_map(|column| {
        let load = node.value(node::CORES, column).filter(|_| !column.ends_with(node::REAL))?;
        Some((column, load, (load - 0.5).abs()))
    });
    let (column, load, _) = loads.min_by(|a, b| a.2.total_cmp(&b.2))?;
    let name = format!("{column}, {:.0} % of a core: delay p99", 100.0 * load);
    Some((name, "ms", node.value(node::P99, column), Mark::AtMost(2.0)))
}

fn others(tables: &[Table]) -> Vec<Target> {
    let of = |table, row| value(tables, table, row, sessions::VALUE);
    let extra = |table, row| value(tables, table, row, extra::DIFFERENCE);
    vec![
        (
            "setting up a session: processor time".to_owned(),
            "ms",
            of("setup", sessions::CPU),
            Mark::AtMost(1.0),
        ),
        (
            "setting up a session: the same, all within a second".to_owned(),
            "ms",
            of("setup", sessions::CPU_RUSH),
            Mark::AtMost(1.0),
        ),
        (
            "memory of an idle session".to_owned(),
            "KB",
            of("memory", sessions::IDLE),
            Mark::AtMost(48.0),
        ),
        (
            "memory of an active session".to_owned(),
            "KB",
            of("memory", sessions::ACTIVE),
            Mark::AtMost(96.0),
        ),
        (
            "500 join within a second: freezes of those there".to_owned(),
            "",
            of("setup", sessions::FREEZES),
            Mark::AtMost(0.0),
        ),
        (
            "500 join within a second: delay p99 of those there".to_owned(),
            "ms",
            of("setup", sessions::DELAY_P99),
            Mark::AtMost(20.0),
        ),
        (
            "500 join within a second: the same, worst second".to_owned(),
            "ms",
            of("setup", sessions::WORST),
            Mark::AtMost(20.0),
        ),
        (
            "others stall: delay p99 moves by".to_owned(),
            "ms",
            extra("slow", extra::STALLED),
            Mark::AtMost(1.0),
        ),
        (
            "others have bad lines: delay p99 moves by".to_owned(),
            "ms",
            extra("slow", extra::FAULTY),
            Mark::AtMost(1.0),
        ),
        (
            "soak: packets that nobody accounts for".to_owned(),
            "",
            value(tables, "soak", extra::ASTRAY, extra::DIFFERENCE),
            Mark::AtMost(0.0),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_come_from_the_tables_that_there_are() {
        let mut node = Table::new("node", "", &["1 x 100", "1 x 1000", "20 x 10 x 10 real"]);
        node.row(node::SHARE, "%", [Some(60.0), Some(70.0), None]);
        node.row(node::PRICE, "ns", [Some(500.0), Some(600.0), None]);
        node.row(node::CORES, "", [Some(0.1), Some(0.4), Some(0.5)]);
        node.row(node::P99, "ms", [Some(1.0), Some(3.0), Some(9.0)]);
        let table = table(&[node]);
        let reached: Vec<_> = table.rows.iter().map(|row| row.reached).collect();
        assert_eq!(table.rows.len(), 3, "{table}");
        assert_eq!(reached, [Some(true), Some(false), Some(false)]);
        assert!(table.rows[2].name.contains("1 x 1000, 40 %"), "{table}");
        assert_eq!(super::table(&[]).rows.len(), 0);
    }
}
