//! Who owns something that several threads may come to own, and how its owner learns that the owner's orders changed.
//!
//! The orders themselves stand beside the claim, in whatever can be replaced and read from several threads. Whoever replaces
//! them calls [`Claim::tell`] afterwards; the owner calls [`Claim::heard`] before it reads them. The argument is that of the
//! wake-up (see the crate's head): the writer stores the orders, passes a sequentially consistent fence and looks for an owner; who
//! claims it swaps the owner in, passes such a fence and reads the orders. Whichever fence is first, either the writer sees the owner
//! and tells it, or the owner's first read sees the new orders. So nothing has to wait for an owner anywhere.
//!
//! The same holds for those who wait until there is an owner ([`Claim::wait`]): either they see it, or it sees them.

use std::fmt;

use crate::sync::{AtomicBool, AtomicU8, AtomicUsize, Ordering, fence};

const NOBODY: u8 = u8::MAX;
const GONE: u8 = u8::MAX - 1;
/// Owners are numbered from 0; there may be so many.
pub const OWNERS_MAX: usize = GONE as usize;

const BITS: usize = 64;
/// Words of the set of those who wait. The models of loom have few threads, and each word is one more thing to interleave.
#[cfg(loom)]
const WORDS: usize = 1;
#[cfg(not(loom))]
const WORDS: usize = 4;

/// Whose something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Nobody's yet: whoever settles it first owns it.
    Nobody,
    /// This one's, from now until it is gone.
    Of(u8),
    /// It is over; nobody will own it.
    Gone,
}

/// See the head of the file.
pub struct Claim {
    owner: AtomicU8,
    /// A notice is on its way to the owner.
    told: AtomicBool,
    waiting: [AtomicUsize; WORDS],
}

impl Claim {
    /// Of nobody.
    pub fn new() -> Claim {
        Claim::with(NOBODY)
    }

    /// Of an owner from the start.
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

    /// Whose it is.
    pub fn owner(&self) -> Owner {
        read(self.owner.load(Ordering::Acquire))
    }

    /// Makes it the caller's. The caller then reads the orders, and tells those of [`Claim::waiting`].
    ///
    /// # Errors
    /// Whose it is already; [`Owner::Gone`] when it is over. The caller itself is an error, too: it has been here before.
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

    /// Those who wait for an owner; each is given once.
    pub fn waiting(&self) -> impl Iterator<Item = u8> + '_ {
        self.waiting.iter().enumerate().flat_map(|(at, word)| {
            let bits = word.swap(0, Ordering::AcqRel);
            (0..BITS).filter(move |bit| bits & (1 << bit) != 0).map(move |b| (at * BITS + b) as u8)
        })
    }

    /// Asks to be told when it has an owner, and says whose it is now. Who gets an owner here need not wait for the word of it,
    /// which may come all the same.
    pub fn wait(&self, me: u8) -> Owner {
        let (word, bit) = (usize::from(me) / BITS % WORDS, usize::from(me) % BITS);
        self.waiting[word].fetch_or(1 << bit, Ordering::AcqRel);
        // Pairs with the fence in `settle`.
        fence(Ordering::SeqCst);
        self.owner()
    }

    /// To be called after the orders were replaced: the owner that must be sent a notice. `None` when there is none, or when a
    /// notice that it has not heard is on its way, which will do.
    pub fn tell(&self) -> Option<u8> {
        // Pairs with the fence in `settle`.
        fence(Ordering::SeqCst);
        match self.owner() {
            Owner::Of(owner) if !self.told.swap(true, Ordering::AcqRel) => Some(owner),
            _ => None,
        }
    }

    /// To be called by the owner that was sent a notice, before it reads the orders.
    pub fn heard(&self) {
        // A swap: whoever found the mark set, and so sent nothing, is ordered before this.
        self.told.swap(false, Ordering::AcqRel);
        fence(Ordering::SeqCst);
    }

    /// Ends it while nobody owns it. `true` when it did; else the owner has to end it.
    pub fn end_unclaimed(&self) -> bool {
        self.owner.compare_exchange(NOBODY, GONE, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The owner ends it.
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
    fn who_waits_is_named_once() {
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
    fn what_was_ended_before_anybody_owned_it_is_nobodys() {
        let claim = Claim::new();
        assert!(claim.end_unclaimed());
        assert_eq!(claim.settle(0), Err(Owner::Gone));
    }
}
