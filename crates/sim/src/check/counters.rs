//! The sums that hold over a whole run: every packet that came in was forwarded, or counted under a reason.

use worker::WorkerMetrics;

/// What the simulation itself counted, over all workers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counted {
    /// Datagrams given to the workers.
    pub(crate) given: u64,
    /// Datagrams sent by the workers.
    pub(crate) sent: u64,
    /// RTP packets among the sent ones.
    pub(crate) sent_rtp: u64,
}

/// Checks the sums. `still`: nothing is under way between workers.
///
/// # Errors
/// The first sum that does not hold.
pub(crate) fn check(
    workers: &[WorkerMetrics],
    counted: &Counted,
    still: bool,
) -> Result<(), String> {
    for m in workers {
        let at = m.worker;
        let dropped: u64 = m.dropped_in.iter().map(|(_, n)| n).sum();
        let taken = m.stun + m.dtls + m.rtcp + m.rtp_accepted + m.handed_over + dropped;
        equal(&format!("worker {at}: datagrams in"), m.datagrams_in, taken)?;
        let dropped: u64 = m.dropped_out.iter().map(|(_, n)| n).sum();
        equal(&format!("worker {at}: copies"), m.offered, m.forwarded + dropped + m.waiting)?;
        equal(&format!("worker {at}: panics"), m.panics, 0)?;
    }
    let sum = |of: fn(&WorkerMetrics) -> u64| workers.iter().map(of).sum::<u64>();
    equal("datagrams sent", sum(|m| m.datagrams_out), counted.sent)?;
    equal("copies sent", sum(|m| m.forwarded), counted.sent_rtp)?;
    if still {
        let taken = sum(|m| m.relays_taken) + sum(|m| m.relays_refused);
        equal("packets between workers", sum(|m| m.relayed), taken)?;
        let given = counted.given + sum(|m| m.handed_over);
        equal("datagrams given to workers", sum(|m| m.datagrams_in), given)?;
    }
    Ok(())
}

fn equal(what: &str, one: u64, other: u64) -> Result<(), String> {
    if one == other { Ok(()) } else { Err(format!("{what}: {one} and {other} should be one")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::DropReason;

    #[test]
    fn sums_that_do_not_hold_are_named() {
        let mut m = WorkerMetrics { datagrams_in: 3, stun: 1, rtcp: 1, ..Default::default() };
        m.dropped_in.push((DropReason::UnknownPath, 1));
        let counted = Counted { given: 3, ..Counted::default() };
        assert_eq!(check(&[m.clone()], &counted, true), Ok(()));
        m.rtcp = 0;
        assert!(check(&[m], &counted, true).unwrap_err().contains("datagrams in"));
    }
}
