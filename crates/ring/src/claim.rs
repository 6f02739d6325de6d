//! A claim says which worker owns a thing (a session), and makes sure that the owner learns of changed orders.
//!
//! The orders are stored beside the claim, in a value that several threads can replace and read. A writer replaces the orders
//! and then calls [`Claim::tell`]; the owner calls [`Claim::heard`] and then reads the orders.
//!
//! Why no change is missed: the writer stores the orders, passes a sequentially consistent fence, and reads the owner. The new
//! owner swaps itself in, passes such a fence, and reads the orders. One of the two fences is first. If it is the writer's, the
//! owner's read sees the new orders; if it is the owner's, the writer sees the owner and tells it. So no queue is needed for
//! orders that come before there is an owner.
//!
//! The same holds for workers that wait for an owner ([`Claim::wait`]): either the waiting worker sees the owner, or the owner
//! finds the waiting worker in the set.

use std::fmt;

use crate::sync::{AtomicBool, AtomicU8, AtomicUsize, Ordering, fence};

const NOBODY: u8 = u8::MAX;
const GONE: u8 = u8::MAX - 1;
/// The number of possible owners; they are numbered from 0.
pub const OWNERS_MAX: usize = GONE as usize;

const BITS: usize = 64;
/// Words of the bit set of waiting workers. One under loom: its models have few threads, and each further atomic multiplies the
/// interleavings.
#[cfg(loom)]
const WORDS: usize = 1;
#[cfg(not(loom))]
const WORDS: usize = 4;

/// The state of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// No owner yet; the first worker that calls [`Claim::settle`] becomes it.
    Nobody,
    /// Owned by this worker until it ends the claim.
    Of(u8),
    /// Ended; it will never have an owner again.
    Gone,
}

/// An owner, the mark of a notice under way, and the set of workers that wait for an owner. See the module's head.
pub struct Claim {
    owner: AtomicU8,
    /// A notice is on its way to the owner, which has not read the orders since.
    told: AtomicBool,
    waiting: [AtomicUsize; WORDS],
}

impl Claim {
    /// A claim without an owner.
    pub fn new() -> Claim {
        Claim::with(NOBODY)
    }

    /// A claim that has an owner from the start.
    pub fn of(owner: u8) -> Claim {
        Claim::with(owner.min(GONE - 1))
    }

    fn with(owner: u8) -> Claim {
        Claim {
            owner: AtomicU8::new(owner),
            told: AtomicBool::new(false),
            waiting: std::array::from_fn(|_| AtomicUsize::new(0)),
        }
    }

    /// The owner now.
    pub fn owner(&self) -> Owner {
        read(self.owner.load(Ordering::Acquire))
    }

    /// Makes `me` the owner. The caller must then read the orders, and tell the workers in [`Claim::waiting`].
    ///
    /// # Errors
    /// The present owner, also when that is `me`; [`Owner::Gone`] when the claim has ended.
    pub fn settle(&self, me: u8) -> Result<(), Owner> {
        match self.owner.compare_exchange(NOBODY, me, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                // Pairs with the fences in `tell` and `wait`.
                fence(Ordering::SeqCst);
                Ok(())
            }
            Err(other) => Err(read(other)),
        }
    }

    /// The workers that wait for an owner. Each is given once: reading empties the set.
    pub fn waiting(&self) -> impl Iterator<Item = u8> + '_ {
        self.waiting.iter().enumerate().flat_map(|(at, word)| {
            let bits = word.swap(0, Ordering::AcqRel);
            (0..BITS).filter(move |bit| bits & (1 << bit) != 0).map(move |b| (at * BITS + b) as u8)
        })
    }

    /// Enters `me` into the set of waiting workers, and returns the owner now. When that is an owner, the caller need not wait;
    /// the new owner may tell it all the same.
    pub fn wait(&self, me: u8) -> Owner {
        let (word, bit) = (usize::from(me) / BITS % WORDS, usize::from(me) % BITS);
        self.waiting[word].fetch_or(1 << bit, Ordering::AcqRel);
        // Pairs with the fence in `settle`.
        fence(Ordering::SeqCst);
        self.owner()
    }

    /// To be called after the orders were replaced. Returns the owner that must be sent a notice; `None` when there is no owner,
    /// or when an earlier notice is still on its way (the owner reads the newest orders when it takes that one).
    pub fn tell(&self) -> Option<u8> {
        // Pairs with the fence in `settle`.
        fence(Ordering::SeqCst);
        match self.owner() {
            Owner::Of(owner) if !self.told.swap(true, Ordering::AcqRel) => Some(owner),
            _ => None,
        }
    }

    /// To be called by the owner when it takes a notice, before it reads the orders.
    pub fn heard(&self) {
        // A swap, not a store: a writer that found the mark set (and so sent nothing) is then ordered before this read, and
        // its orders are seen.
        self.told.swap(false, Ordering::AcqRel);
        fence(Ordering::SeqCst);
    }

    /// Ends the claim if it has no owner. `false` when it has one: then the owner has to end it.
    pub fn end_unclaimed(&self) -> bool {
        self.owner.compare_exchange(NOBODY, GONE, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Ends the claim. To be called by the owner.
    pub fn end(&self) {
        self.owner.swap(GONE, Ordering::AcqRel);
    }
}

fn read(owner: u8) -> Owner {
    match owner {
        NOBODY => Owner::Nobody,
        GONE => Owner::Gone,
        owner => Owner::Of(owner),
    }
}

impl Default for Claim {
    fn default() -> Self {
        Claim::new()
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("owner", &self.owner()).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_first_to_settle_owns_it() {
        let claim = Claim::new();
        assert_eq!(claim.tell(), None, "nobody to tell");
        assert_eq!(claim.settle(3), Ok(()));
        assert_eq!(claim.settle(4), Err(Owner::Of(3)));
        assert_eq!(claim.settle(3), Err(Owner::Of(3)));
        assert!(!claim.end_unclaimed());
        claim.end();
        assert_eq!(
            (claim.owner(), claim.settle(4), claim.tell()),
            (Owner::Gone, Err(Owner::Gone), None)
        );
    }

    #[test]
    fn one_notice_is_on_its_way_at_a_time() {
        let claim = Claim::of(7);
        assert_eq!((claim.tell(), claim.tell()), (Some(7), None));
        claim.heard();
        assert_eq!(claim.tell(), Some(7));
    }

    #[test]
    fn a_waiting_worker_is_named_once() {
        let claim = Claim::new();
        for who in [0, 63, 64, 253] {
            assert_eq!(claim.wait(who), Owner::Nobody);
        }
        claim.settle(1).unwrap();
        assert_eq!(claim.waiting().collect::<Vec<_>>(), [0, 63, 64, 253]);
        assert_eq!(claim.waiting().count(), 0);
        assert_eq!(claim.wait(9), Owner::Of(1));
    }

    #[test]
    fn a_claim_that_ended_without_an_owner_cannot_be_settled() {
        let claim = Claim::new();
        assert!(claim.end_unclaimed());
        assert_eq!(claim.settle(0), Err(Owner::Gone));
    }
}
